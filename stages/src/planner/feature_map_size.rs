//! The estimate of GPU memory: elements of the convolutions' feature maps for one sample.

use super::Architecture;

/// Elements of all feature maps for a patch: convolutions of the encoder and the decoder, its
/// transposed convolutions, and the logits at full resolution.
pub fn feature_map_size(architecture: &Architecture, patch: [usize; 3], classes: usize) -> f64 {
    let maps = stage_maps(architecture, patch);
    let encoder: f64 = match architecture.is_residual {
        false => maps.iter().zip(&architecture.encoder).map(|(map, n)| *n as f64 * map).sum(),
        true => residual_encoder(architecture, &maps),
    };
    let decoder: f64 = maps
        .iter()
        .zip(&architecture.decoder_in_order())
        .map(|(map, n)| (n + 1) as f64 * map)
        .sum();
    encoder + decoder + (classes * patch.iter().product::<usize>()) as f64
}

/// Elements of one feature map of each stage.
fn stage_maps(architecture: &Architecture, patch: [usize; 3]) -> Vec<f64> {
    let mut size = patch;
    let stages = architecture.strides.iter().zip(&architecture.features_per_stage);
    stages
        .map(|(stride, features)| {
            (0..3).for_each(|axis| size[axis] /= stride[axis]);
            (features * size.iter().product::<usize>()) as f64
        })
        .collect()
}

/// The stem, two convolutions a block, and the skip of blocks that change channels or size.
fn residual_encoder(architecture: &Architecture, maps: &[f64]) -> f64 {
    let mut channels = architecture.features_per_stage.first().copied().unwrap_or_default();
    let mut sum = maps.first().copied().unwrap_or_default();
    for (stage, map) in maps.iter().enumerate() {
        let features = architecture.features_per_stage[stage];
        let is_projected = features != channels || architecture.strides[stage] != [1; 3];
        sum += (2 * architecture.encoder[stage]) as f64 * map;
        sum += if is_projected { *map } else { 0.0 };
        channels = features;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::Preset;
    use super::*;

    #[test]
    fn the_estimate_of_a_residual_encoder_is_that_of_the_original() {
        let strides = [vec![[1; 3]], vec![[2; 3]; 5]].concat();
        let kernels = vec![[3; 3]; 6];
        let architecture = Architecture::new(Preset::ResencM, strides, kernels);
        // 558 319 104 with deep supervision, whose logits are those of the stages below.
        let below: f64 = (1..5).map(|stage| 3.0 * (128.0 / f64::from(1 << stage)).powi(3)).sum();
        let found = feature_map_size(&architecture, [128; 3], 3);
        assert_eq!(found + below, 558_319_104.0);
    }
}
