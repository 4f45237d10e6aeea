//! The metrics of one name, one for each value of a label.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

/// The metrics of one name, which differ in the value of one label.
#[derive(Debug)]
pub(super) struct Family<M> {
    label: &'static str,
    by_value: Arc<RwLock<BTreeMap<String, M>>>,
}

impl<M> Family<M>
where
    M: EncodeMetric + TypedMetric + Clone + Default + fmt::Debug + Send + Sync + 'static,
{
    pub(super) fn register(
        registry: &mut Registry,
        name: &str,
        help: &str,
        label: &'static str,
    ) -> Family<M> {
        let by_value = Arc::default();
        let family = Family { label, by_value };
        let registered = Family {
            label,
            by_value: Arc::clone(&family.by_value),
        };
        registry.register(name, help, registered);
        family
    }

    /// The metric whose label has this value; it is shown from now on.
    pub(super) fn with(&self, value: &str) -> M {
        let mut by_value = self
            .by_value
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match by_value.get(value) {
            Some(metric) => metric.clone(),
            None => by_value.entry(value.to_owned()).or_default().clone(),
        }
    }
}

impl Family<Counter> {
    pub(super) fn sum(&self) -> u64 {
        let by_value = self.by_value.read().unwrap_or_else(PoisonError::into_inner);
        by_value.values().map(|counter| counter.get()).sum()
    }
}

impl<M: EncodeMetric + TypedMetric> EncodeMetric for Family<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let by_value = self.by_value.read().unwrap_or_else(PoisonError::into_inner);
        for (value, metric) in by_value.iter() {
            metric.encode(encoder.encode_family(&[(self.label, value.as_str())])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}
