use super::*;
use serde_json::json;
use tch::Device;

/// Two tensors, one of them a bias before a norm, and an optimizer of them.
fn some(settings: &OptimizerParams) -> (Vec<NetworkTensor>, Optimizer) {
    tch::manual_seed(4);
    let tensor = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
    let named = |name: &str, tensor, role| NetworkTensor { name: name.into(), tensor, role };
    let parameters = vec![
        named("w", tensor(&[3, 4]), TensorRole::Weight),
        named("b", tensor(&[5]).abs() + 1.0, TensorRole::BiasBeforeNorm),
    ];
    let optimizer = Optimizer::new(settings, &parameters, false, |_| false);
    (parameters, optimizer)
}

/// Gives the first tensor a gradient.
fn pull(parameters: &[NetworkTensor], optimizer: &mut Optimizer, gradient: f64) {
    optimizer.zero_grad();
    (parameters[0].tensor.sin() * gradient).sum(Kind::Float).backward();
}

fn every_optimizer(check: impl Fn(&OptimizerParams)) {
    for more in [
        json!({ "name": "novograd", "weight_decay": 0.01 }),
        json!({ "name": "novograd" }),
        json!({ "name": "adam", "weight_decay": 0.01 }),
        json!({ "name": "adamw", "weight_decay": 0.01 }),
        json!({ "name": "sgd", "momentum": 0.9, "weight_decay": 0.01 }),
        json!({ "name": "sgd", "momentum": 0.9, "nesterov": true }),
        json!({ "name": "sgd", "momentum": 0.0 }),
    ] {
        check(&serde_json::from_value(more).unwrap());
    }
}

fn everything(parameters: &[NetworkTensor], optimizer: &Optimizer) -> Vec<Tensor> {
    let weights = parameters.iter().map(|parameter| parameter.tensor.detach().copy());
    weights.chain(optimizer.state().into_iter().map(|(_, tensor)| tensor.copy())).collect()
}

#[test]
fn a_step_that_the_device_decides_on_is_the_step_that_is_certain() {
    every_optimizer(|settings| {
        let ((certain, mut one), (decided, mut other)) = (some(settings), some(settings));
        for _ in 0..5 {
            pull(&certain, &mut one, 1.0);
            one.step(0.1);
            pull(&decided, &mut other, 1.0);
            other.step_if(0.1, &Tensor::from(true));
        }
        for (one, other) in everything(&certain, &one).iter().zip(everything(&decided, &other)) {
            let off = (one - &other).abs().max().double_value(&[]);
            assert!(off <= 1e-7, "{settings:?}: {off:e}");
        }
    });
}

#[test]
fn a_step_whose_gradients_overflowed_changes_nothing_and_does_not_count() {
    every_optimizer(|settings| {
        let (parameters, mut optimizer) = some(settings);
        // The first step of all, and one after moments have gathered.
        for gradient in [1.0, 1.0, 2.0] {
            let before = everything(&parameters, &optimizer);
            for bad in [f64::INFINITY, f64::NAN] {
                pull(&parameters, &mut optimizer, bad);
                optimizer.step_if(0.1, &Tensor::from(false));
            }
            for (now, before) in everything(&parameters, &optimizer).iter().zip(before) {
                assert!(now.equal(&before), "{settings:?}");
            }
            pull(&parameters, &mut optimizer, gradient);
            optimizer.step_if(0.1, &Tensor::from(true));
        }
        assert_eq!(optimizer.state()[0].1.int64_value(&[0]), 3);
    });
}
