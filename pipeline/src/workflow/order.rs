//! Topological order of stages, stable with respect to the file, or the cycle preventing it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Orders `0..needs.len()`, with `needs[i]` listing predecessors of `i`; on failure returns a
/// cycle, each index followed by a need.
pub fn topological(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut readers = vec![vec![]; needs.len()];
    for (reader, needs) in needs.iter().enumerate() {
        needs.iter().for_each(|&need| readers[need].push(reader));
    }
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut free: BinaryHeap<_> =
        (0..needs.len()).filter(|&i| missing[i] == 0).map(Reverse).collect();
    let mut order: Vec<usize> = vec![];
    while let Some(Reverse(next)) = free.pop() {
        order.push(next);
        for &reader in &readers[next] {
            missing[reader] -= 1;
            if missing[reader] == 0 {
                free.push(Reverse(reader));
            }
        }
    }
    match missing.iter().position(|&missing| missing > 0) {
        None => Ok(order),
        Some(start) => Err(circle(needs, &missing, start)),
    }
}

/// Follows unplaced needs until one repeats.
fn circle(needs: &[Vec<usize>], missing: &[usize], start: usize) -> Vec<usize> {
    let mut path = vec![start];
    while let Some(&next) =
        path.last().and_then(|&last| needs[last].iter().find(|&&need| missing[need] > 0))
    {
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
