//! Names and relative addresses of pages.

/// Name of a case's page in a folder of pages.
pub fn file_name(case: &str) -> String {
    format!("{}.html", case.replace(['/', '\\'], "_"))
}

/// Relative address of a case's page, within its folder.
pub fn page_of(case: &str) -> String {
    encoded(&file_name(case))
}

/// A part of an address: all but plain letters, digits and marks as `%41`.
pub fn encoded(part: &str) -> String {
    part.bytes().map(encoded_byte).collect()
}

fn encoded_byte(byte: u8) -> String {
    match byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cases_page_is_found_whatever_its_name() {
        assert_eq!(file_name("a/b"), "a_b.html");
        assert_eq!(page_of("a b?#é"), "a%20b%3F%23%C3%A9.html");
    }
}
