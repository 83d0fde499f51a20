//! Stories of candidate lists.

use super::*;

/// A 5×4×3 case: voxels 0..10 are label 1, 10..15 label 2, the rest background with rising image.
fn case() -> (Vec<u8>, Vec<f32>) {
    let label = (0..60).map(|i| if i < 10 { 1 } else { u8::from(i < 15) * 2 }).collect();
    (label, (0..60).map(|i| i as f32 - 30.0).collect())
}

fn some() -> Candidates {
    let (label, image) = case();
    let selection = CandidateSelection { labels: &[1, 2], background: Some((&image, 0.0)) };
    Candidates::compute([5, 4, 3], &label, selection).unwrap()
}

#[test]
fn counts_follow_the_label_and_the_threshold() {
    let some = some();
    assert_eq!(
        (some.count(0), some.count(1), some.foreground(), some.background()),
        (10, 5, 15, 29)
    );
    let all = Candidates::compute(
        [5, 4, 3],
        &case().0,
        CandidateSelection { labels: &[1, 2], background: None },
    )
    .unwrap();
    assert_eq!(all.background(), 45);
}

#[test]
fn background_counts_where_any_channel_is_above() {
    let (label, image) = case();
    let two: Vec<f32> = image.iter().copied().chain(image.iter().map(|value| -value)).collect();
    let selection = CandidateSelection { labels: &[1, 2], background: Some((&two, 0.0)) };
    assert_eq!(
        Candidates::compute([5, 4, 3], &label, selection).unwrap().background(),
        44,
        "all but the one at 0"
    );
}

#[test]
fn a_written_list_opens_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("candidates.bin");
    some().write(&path).unwrap();
    let opened = Candidates::open(&path).unwrap();
    assert_eq!(&*opened.bytes, &*some().bytes);
    assert_eq!((opened.shape(), opened.labels().collect::<Vec<_>>()), ([5, 4, 3], vec![1, 2]));
}

#[test]
fn draws_are_uniform_over_each_pool() {
    let some = some();
    let mut draw = Draw::new(3, 0, 0, "test");
    let mut counts = [0f64; 60];
    (0..45_000).for_each(|_| counts[some.draw_foreground(&mut draw)] += 1.0);
    (0..87_000).for_each(|_| counts[some.draw_background(&mut draw)] += 1.0);
    let chi2 = |range: std::ops::Range<usize>| {
        counts[range].iter().map(|n| (n - 3000.0).powi(2) / 3000.0).sum::<f64>()
    };
    assert!(
        chi2(0..15) < 36.1 && counts[15..31].iter().all(|n| *n == 0.0),
        "14 degrees of freedom, p = 0.001"
    );
    assert!(chi2(31..60) < 56.9, "28 degrees of freedom, p = 0.001");
}

#[test]
fn a_rare_background_voxel_is_found() {
    let mut label = vec![1; 100_000];
    label[77_777] = 0;
    let rare = Candidates::compute(
        [100, 100, 10],
        &label,
        CandidateSelection { labels: &[1], background: None },
    )
    .unwrap();
    assert_eq!(rare.draw_background(&mut Draw::new(0, 0, 0, "test")), 77_777);
}

#[test]
fn a_value_that_is_no_label_is_named() {
    let error = Candidates::compute(
        [5, 4, 3],
        &case().0,
        CandidateSelection { labels: &[1], background: None },
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "label: value 2 is not among the dataset's labels [1]");
}

#[test]
fn a_case_without_any_candidate_is_an_error() {
    let selection = CandidateSelection { labels: &[1], background: Some((&[0.0; 60], 0.0)) };
    let error = Candidates::compute([5, 4, 3], &[0; 60], selection).unwrap_err();
    assert!(error.to_string().starts_with("no voxel to centre a patch on"), "{error}");
}

#[test]
fn every_truncation_and_every_lie_is_refused() {
    let good = some().bytes.to_vec();
    for length in 0..good.len() {
        assert!(
            Candidates::parse(Bytes::Owned(good[..length].to_vec())).is_err(),
            "cut to {length} bytes"
        );
    }
    for at in 0..FIXED + 32 {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let permuted =
                Candidates::parse(Bytes::Owned(bad)).is_ok_and(|list| list.foreground() == 15);
            assert!(
                !permuted || at >= FIXED,
                "bit {bit} of byte {at} changes only a label's value"
            );
        }
    }
    let mut outside = good.clone();
    let last = outside.len() - 4;
    outside[last..].copy_from_slice(&60u32.to_le_bytes());
    assert!(Candidates::parse(Bytes::Owned(outside)).is_err());
}
