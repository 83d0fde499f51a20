//! The training: steps, epochs and checkpoints. What it goes on from is in `resume`, which weights
//! it keeps in `choose`.

use crate::amp::compute_kind;
use crate::cases::{Classes, Part};
use crate::checkpoint::{Writer, longest_at_risk};
use crate::device::Place;
use crate::gradients::{clip, norm};
use crate::ledger::Entry;
use crate::loader::{Batch, Plan};
use crate::network::{GraphNetwork, Pass};
use crate::optimizer::Optimizer;
use crate::progress::{Pace, Shown, peak_memory_bytes};
use crate::resume::State;
use crate::scaler::Scaler;
use crate::source::{Closing, Source};
use crate::{loss, memory, weights};
use std::collections::BTreeMap;
use std::time::Instant;
use tch::{Kind, Tensor};
use voxflow_stages::kinds::train::Train;
use voxflow_stages::{Context, Error, Message, Metric, Result};

/// Tensors by name.
pub type Named = Vec<(String, Tensor)>;

/// What a training gives.
pub struct Outcome {
    /// The weights with the best validation score; the last ones where nothing chooses.
    pub best: Named,
    /// The weights after the last step.
    pub last: Named,
    /// The epoch of the best weights and their score.
    pub best_score: Option<(u32, f64)>,
    /// Epochs done.
    pub epochs: u32,
    /// Optimizer steps done.
    pub steps: u64,
}

/// A training in hand.
pub struct Fit<'a> {
    pub(crate) cx: &'a Context<'a>,
    pub(crate) params: &'a Train,
    pub(crate) place: &'a Place,
    training: &'a Part,
    pub(crate) validation: &'a Part,
    pub(crate) classes: &'a Classes,
    pub(crate) network: GraphNetwork,
    pub(crate) average: Option<GraphNetwork>,
    pub(crate) optimizer: Optimizer,
    pub(crate) scaler: Scaler,
    pub(crate) state: State,
    /// Steps whose losses and norms are still on the device.
    pub(crate) ledger: Vec<Entry>,
    pub(crate) best: Option<Named>,
    pub(crate) writer: Writer,
    pub(crate) saved: Instant,
    pub(crate) pace: Pace,
    batches: u64,
}

impl<'a> Fit<'a> {
    /// Sets a training up: a new one, one from given weights, or the rest of an unfinished one.
    pub fn new(
        cx: &'a Context<'a>,
        params: &'a Train,
        training: &'a Part,
        validation: &'a Part,
        classes: &'a Classes,
        place: &'a Place,
        start: Option<BTreeMap<String, Tensor>>,
    ) -> Result<Fit<'a>> {
        let patterns: Vec<glob::Pattern> =
            params.freeze.iter().filter_map(|pattern| glob::Pattern::new(pattern).ok()).collect();
        let frozen = |name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        let graph = params.network.graph(training.channels(), classes.count());
        let build = || {
            let (kind, device) = (Kind::Float, place.device);
            GraphNetwork::with_frozen(&graph, params.seed, kind, device, &frozen)
        };
        let network = build();
        if let Some(start) = start {
            weights::fill(&network, &start)?;
        }
        let average = params.ema.map(|_| build());
        if let Some(average) = &average {
            weights::fill(average, &weights::snapshot(&network).into_iter().collect())?;
        }
        let optimizer =
            Optimizer::new(&params.optimizer, network.parameters(), params.noisy_biases, frozen);
        let batches = Plan::new(params, training, classes).batches();
        let writer = Writer::new(cx.unfinished()?);
        let state = State::new(params.precision);
        let scaler = Scaler::new(&state.scaler, place.device);
        let (saved, pace) = (Instant::now(), Pace::new());
        let mut fit = Fit {
            cx,
            params,
            place,
            training,
            validation,
            classes,
            network,
            average,
            optimizer,
            scaler,
            state,
            ledger: vec![],
            best: None,
            writer,
            saved,
            pace,
            batches,
        };
        fit.resume()?;
        Ok(fit)
    }

    /// Trains to the end, or stops with a checkpoint when asked to.
    pub fn fit(mut self) -> Result<Outcome> {
        let (plan, threads) =
            (Plan::new(self.params, self.training, self.classes), self.loader_threads());
        let all = u64::from(self.params.epochs) * self.batches;
        let first = u64::from(self.state.epoch) * self.batches + self.state.batch;
        let compute = compute_kind(self.params.precision);
        let source = Source::new(self.cx, &plan, self.place, compute, (first, all), threads)?;
        std::thread::scope(|scope| {
            let _closing = Closing(&source);
            source.to_fill().for_each(|feed| drop(scope.spawn(|| feed.fill())));
            while self.state.epoch < self.params.epochs && !self.is_stale() {
                let began = Instant::now();
                while self.state.batch < self.batches {
                    self.checkpoint_if_due()?;
                    self.step(&source)?;
                }
                // What comes now may be a long validation.
                self.checkpoint_if_due()?;
                self.finish_epoch(began)?;
            }
            Ok::<(), Error>(())
        })?;
        self.finish()
    }

    /// One optimizer step: the gradients of `accumulate` batches, or of what is left of the epoch.
    /// Nothing in it waits for the device.
    fn step(&mut self, source: &Source) -> Result<()> {
        let group = (self.params.accumulate as u64).min(self.batches - self.state.batch);
        let mut losses = vec![];
        self.optimizer.zero_grad();
        for _ in 0..group {
            let batch = source.take(self.state.number(self.batches))?;
            losses.push((self.backward(&batch, group), batch.cases));
            self.state.batch += 1;
            self.pace.batch(batch.patches as u64);
        }
        let (step, norm) = (self.state.step, self.update());
        self.ledger.push(Entry { step, losses, norm });
        self.pace.step();
        if self.pace.is_due() {
            self.settle()?;
            self.pace.tell(self.cx, &self.shown());
        }
        Ok(())
    }

    /// Adds a batch's gradients; gives its share of the loss.
    fn backward(&mut self, batch: &Batch, group: u64) -> Tensor {
        let (images, labels) = batch.tensors(self.place.device);
        if self.params.network.dropout > 0.0 {
            tch::manual_seed(
                (self.params.seed ^ self.state.number(self.batches).rotate_left(32)) as i64,
            );
        }
        let pass = Pass { training: true, compute: compute_kind(self.params.precision) };
        let outputs = self.network.forward(&images, pass);
        let loss = loss::of_outputs(&self.params.loss, &outputs, &labels) / group as f64;
        self.scaler.scaled(&loss).backward();
        loss.detach()
    }

    /// Takes the step, but for gradients that overflowed in fp16; gives their norm.
    fn update(&mut self) -> Tensor {
        let gradients = self.optimizer.gradients();
        self.scaler.unscale(&gradients);
        let norm = norm(&gradients);
        self.params.clip_gradients.into_iter().for_each(|limit| clip(&gradients, &norm, limit));
        let taken = self.scaler.accept(&norm);
        match &taken {
            None => self.optimizer.step(self.rate()),
            Some(taken) => self.optimizer.step_if(self.rate(), taken),
        }
        self.follow(taken.as_ref());
        self.state.step += 1;
        norm
    }

    /// Ends an epoch: its rows, its validation where one is due, its checkpoint.
    fn finish_epoch(&mut self, began: Instant) -> Result<()> {
        self.settle()?;
        self.state.epoch += 1;
        self.state.batch = 0;
        let (epoch, step) = (self.state.epoch, self.state.step);
        let (loss, norm) = self.state.sums.take();
        let seconds = began.elapsed().as_secs_f64();
        let row = |name: &str, value: f64| {
            Metric::new(name, value).split("training").epoch(epoch).step(step)
        };
        let measured = |name: &str, value: f64| Metric { measured: true, ..row(name, value) };
        let mut rows = vec![
            row("loss", loss),
            row("learning_rate", self.last_rate()),
            row("gradient_norm", norm),
        ];
        rows.push(measured("epoch_seconds", seconds));
        rows.push(measured("patches_per_second", self.pace.patches_per_second()));
        self.state.train_seconds += seconds;
        if epoch % self.params.validate_every == 0 || epoch == self.params.epochs {
            rows.extend(self.validate()?);
        }
        rows.iter().for_each(|row| self.cx.tell(Message::Metric(row.clone())));
        self.state.metrics.extend(rows);
        if epoch % self.params.checkpoint_every == 0 && epoch < self.params.epochs {
            self.save()?;
        }
        Ok(())
    }

    fn checkpoint_if_due(&mut self) -> Result<()> {
        if self.cx.stopping() {
            self.save()?;
            self.writer.wait()?;
            return Err(Error::Stopped);
        }
        if self.saved.elapsed() >= longest_at_risk() { self.save() } else { Ok(()) }
    }

    fn finish(mut self) -> Result<Outcome> {
        self.writer.wait()?;
        let sum = |name: &str, value: f64| self.cx.measure(Metric::new(name, value));
        sum("train_seconds", self.state.train_seconds);
        peak_memory_bytes().into_iter().for_each(|bytes| sum("peak_memory_bytes", bytes));
        let device = memory::of(self.place.device);
        device.into_iter().for_each(|memory| sum("peak_device_memory_bytes", memory.peak as f64));
        let last = weights::snapshot(self.kept());
        let best = self.best.take().unwrap_or_else(|| weights::snapshot(self.kept()));
        let (epochs, steps) = (self.state.epoch, self.state.step);
        Ok(Outcome { best, last, best_score: self.state.best, epochs, steps })
    }

    fn steps_per_epoch(&self) -> u64 {
        self.batches.div_ceil(self.params.accumulate as u64)
    }

    /// The learning rate of a step.
    pub(crate) fn rate_at(&self, step: u64) -> f64 {
        self.params.learning_rate
            * self.params.schedule.factor(step, self.steps_per_epoch(), self.params.epochs)
    }

    /// The learning rate of the step in hand.
    fn rate(&self) -> f64 {
        self.rate_at(self.state.step)
    }

    fn last_rate(&self) -> f64 {
        self.rate_at(self.state.step.saturating_sub(1))
    }

    fn loader_threads(&self) -> usize {
        if self.place.device.is_cuda() { self.cx.threads().clamp(1, 8) } else { 1 }
    }

    fn shown(&self) -> Shown {
        Shown {
            steps: (self.state.step, self.steps_per_epoch() * u64::from(self.params.epochs)),
            epochs: (self.state.epoch + 1, self.params.epochs),
            loss: self.state.sums.mean_loss(),
            dice: (self.state.dice, self.state.best.map(|(_, dice)| dice)),
            rate: self.last_rate(),
        }
    }
}
