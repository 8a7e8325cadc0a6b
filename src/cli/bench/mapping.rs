//! What mapping costs: nanoseconds a request for the plan, its records and what applying them takes. No store.

use super::figures::Figures;
use super::{median, scattered};
use iris_mappers::{Facts, MAX_FILE, Mapper, Plan, Registry, Store};
use std::hint::black_box;
use std::time::Instant;

const BLOCK: u64 = 4096;
const STORE: Store =
    Store { range_read: true, range_write: true, conditional_put: true, max_object: MAX_FILE };

/// Measures every mapper of Iris's own.
pub fn measure(rounds: u32, requests: u64, figures: &mut Figures) -> Result<(), String> {
    figures.table(&format!("mapping of {requests} requests of 4 KiB"), "ns a request", false, None);
    let (in_order, order) = ((0..requests).collect::<Vec<_>>(), scattered(requests));
    for maker in Registry::own().makers() {
        let mut all = [const { Vec::new() }; 4];
        for _ in 0..rounds {
            let make = || Registry::own().make(maker.name()).map_err(|e| e.to_string());
            let mut fresh = Subject::new(make()?);
            all[0].push(time(in_order.iter().copied(), |i| fresh.write(i))?);
            let mut subject = Subject::new(make()?);
            all[1].push(time(order.iter().copied(), |i| subject.write(i))?);
            all[2].push(time(in_order.iter().copied(), |i| subject.read(i))?);
            all[3].push(time(order.iter().copied(), |i| subject.read(i))?);
        }
        let cases = ["write, in order", "write, scattered", "read, in order", "read, scattered"];
        for (case, values) in cases.into_iter().zip(all) {
            figures.add(case, maker.name(), median(values));
        }
    }
    Ok(())
}

fn time(
    order: impl ExactSizeIterator<Item = u64>,
    mut f: impl FnMut(u64) -> Result<(), String>,
) -> Result<f64, String> {
    let count = order.len() as f64;
    let begin = Instant::now();
    for i in order {
        f(i)?;
    }
    Ok(begin.elapsed().as_nanos() as f64 / count)
}

/// A mapper with what whoever carries its plans out has.
struct Subject {
    mapper: Box<dyn Mapper>,
    plan: Plan,
    facts: Facts,
    fresh: u64,
}

impl Subject {
    fn new(mapper: Box<dyn Mapper>) -> Subject {
        Subject { mapper, plan: Plan::default(), facts: Facts { size: 0, store: STORE }, fresh: 1 }
    }

    fn write(&mut self, i: u64) -> Result<(), String> {
        self.plan.clear();
        let planned = self.mapper.plan_write(&self.facts, i * BLOCK, BLOCK, self.fresh, &mut self.plan);
        planned.map_err(|e| e.to_string())?;
        self.fresh += self.plan.taken;
        for record in self.plan.intents.iter().chain(&self.plan.records) {
            self.mapper.apply(record).map_err(|e| e.to_string())?;
        }
        self.facts.size = self.facts.size.max((i + 1) * BLOCK);
        Ok(())
    }

    fn read(&mut self, i: u64) -> Result<(), String> {
        self.plan.clear();
        let planned = self.mapper.plan_read(&self.facts, i * BLOCK, BLOCK, &mut self.plan);
        planned.map_err(|e| e.to_string())?;
        match black_box(&self.plan).pieces.len() {
            0 => Err(format!("{}: a read without a piece", self.mapper.spec())),
            _ => Ok(()),
        }
    }
}
