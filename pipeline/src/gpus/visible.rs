//! Parses `CUDA_VISIBLE_DEVICES` like CUDA: numbers, UUIDs for cards and instances, or unique UUID
//! prefixes. The list ends at the first unknown word.

use super::card::{Card, Gpu};

/// Selects devices. Numbers index the driver's order if CUDA uses it too; otherwise (mixed models
/// without `CUDA_DEVICE_ORDER=PCI_BUS_ID`) they are passed on unchanged. Without a driver's list
/// every word is accepted.
pub(super) fn select(cards: &[Card], given: &str, is_in_bus_order: bool) -> Vec<Gpu> {
    let is_one_model = cards.windows(2).all(|pair| pair[0].whole.name == pair[1].whole.name);
    let mut found: Vec<Gpu> = vec![];
    for word in given.split(',').map(str::trim) {
        let device = match word.parse::<usize>() {
            Ok(number) => numbered(cards, number, is_in_bus_order || is_one_model),
            Err(_) => named(cards, word),
        };
        match device {
            Some(device) if !found.contains(&device) => found.push(device),
            // CUDA shows no device at all where one is named twice.
            Some(_) => return vec![],
            None => break,
        }
    }
    found
}

/// Device known only by its identifier.
pub(super) fn unknown(word: &str) -> Gpu {
    Gpu { id: word.into(), name: String::new(), memory: 0 }
}

fn numbered(cards: &[Card], number: usize, is_sure: bool) -> Option<Gpu> {
    if cards.is_empty() {
        return Some(unknown(&number.to_string()));
    }
    let card = cards.get(number)?;
    match &card.instances {
        // CUDA takes the first instance of a card that is given by its number.
        Some(instances) => instances.first().cloned(),
        None if is_sure => Some(card.whole.clone()),
        None => Some(Gpu { id: number.to_string(), ..card.whole.clone() }),
    }
}

fn named(cards: &[Card], word: &str) -> Option<Gpu> {
    let is_uuid = word.starts_with("GPU-") || word.starts_with("MIG-");
    if cards.is_empty() {
        return is_uuid.then(|| unknown(word));
    }
    let devices = cards.iter().cloned().flat_map(Card::into_usable);
    let mut fitting = devices.filter(|device| is_uuid && device.id.starts_with(word));
    fitting.next().filter(|_| fitting.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(id: &str, name: &str) -> Gpu {
        Gpu { id: id.into(), name: name.into(), memory: 0 }
    }

    fn card(id: &str, name: &str) -> Card {
        Card { whole: gpu(id, name), instances: None }
    }

    fn ids(cards: &[Card], given: &str, bus: bool) -> Vec<String> {
        select(cards, given, bus).into_iter().map(|gpu| gpu.id).collect()
    }

    #[test]
    fn numbers_uuids_and_their_beginnings_name_cards() {
        let cards = [card("GPU-aa11", "H100"), card("GPU-ab22", "H100"), card("GPU-cc33", "H100")];
        for (given, found) in [
            ("0,2", vec!["GPU-aa11", "GPU-cc33"]),
            (" 1 , 0", vec!["GPU-ab22", "GPU-aa11"]),
            ("GPU-ab22", vec!["GPU-ab22"]),
            ("GPU-c", vec!["GPU-cc33"]),
            ("GPU-a", vec![]),
            ("", vec![]),
            ("-1", vec![]),
            ("NoDevFiles", vec![]),
            ("1,7,0", vec!["GPU-ab22"]),
            ("1,x,0", vec!["GPU-ab22"]),
            ("1,1", vec![]),
        ] {
            assert_eq!(ids(&cards, given, false), found, "{given}");
        }
    }

    #[test]
    fn a_number_stays_a_number_where_cuda_may_sort_otherwise() {
        let cards = [card("GPU-a", "T4"), card("GPU-b", "H100")];
        assert_eq!(ids(&cards, "1", false), ["1"]);
        assert_eq!(ids(&cards, "1", true), ["GPU-b"]);
    }

    #[test]
    fn a_card_in_mig_mode_counts_by_its_instances_only() {
        let instances = Some(vec![gpu("MIG-1", "1g"), gpu("MIG-2", "1g")]);
        let cards = [Card { whole: gpu("GPU-a", "A100"), instances }, card("GPU-b", "A100")];
        assert_eq!(ids(&cards, "MIG-2", false), ["MIG-2"]);
        assert_eq!(ids(&cards, "0,1", false), ["MIG-1", "GPU-b"]);
        assert!(ids(&cards, "GPU-a", false).is_empty());
        assert_eq!(cards[0].clone().into_usable().len(), 2);
    }

    #[test]
    fn without_a_driver_every_word_is_believed() {
        assert_eq!(ids(&[], "3,GPU-x,MIG-y", false), ["3", "GPU-x", "MIG-y"]);
        assert!(ids(&[], "-1", false).is_empty() && ids(&[], "none", false).is_empty());
    }
}
