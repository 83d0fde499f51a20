//! The order of stages: each after those it needs, otherwise as written; or the circle that forbids it.

/// The order of `0..needs.len()`, where `needs[i]` lists what must come before `i`; or one circle,
/// each followed by what it needs.
pub fn topological(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut order: Vec<usize> = vec![];
    let mut placed = vec![false; needs.len()];
    while let Some(next) = (0..needs.len()).find(|&i| !placed[i] && needs[i].iter().all(|&need| placed[need])) {
        placed[next] = true;
        order.push(next);
    }
    match placed.iter().position(|placed| !placed) {
        None => Ok(order),
        Some(start) => Err(circle(needs, &placed, start)),
    }
}

/// Follows needs that were never placed until one comes again.
fn circle(needs: &[Vec<usize>], placed: &[bool], start: usize) -> Vec<usize> {
    let mut path = vec![start];
    while let Some(&next) = path.last().and_then(|&last| needs[last].iter().find(|&&need| !placed[need])) {
        if let Some(first) = path.iter().position(|&seen| seen == next) {
            return path.split_off(first);
        }
        path.push(next);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_keep_their_written_order_where_needs_allow_it() {
        assert_eq!(topological(&[vec![2], vec![], vec![]]), Ok(vec![1, 2, 0]));
        assert_eq!(topological(&[vec![], vec![0], vec![1, 0]]), Ok(vec![0, 1, 2]));
    }

    #[test]
    fn a_circle_is_named_without_what_merely_leads_into_it() {
        assert_eq!(topological(&[vec![1], vec![2], vec![1]]), Err(vec![1, 2]));
        assert_eq!(topological(&[vec![0]]), Err(vec![0]));
    }
}
