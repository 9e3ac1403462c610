//! Node ports: which are taken, and the next free one.

use std::collections::HashSet;

use parking_lot::Mutex;
use serde_json::Value;

use super::ports_of;
use crate::fault::Fault;
use crate::field::FieldError;
use crate::kind::fill;
use crate::server::Server;

/// The node ports that Services hold.
#[derive(Debug)]
pub(crate) struct NodePorts {
    range: (u16, u16),
    /// `None` until it was filled from the Services there are.
    taken: Mutex<Option<HashSet<u16>>>,
}

/// Of a range of ports, the lower part is left to those who ask for a certain port: one in so many.
const STEP: usize = 32;
/// That part is at least so large (in ports), if the range has room for it,
const LEAST: usize = 16;
/// and at most so large.
const MOST: usize = 128;

impl NodePorts {
    /// No port of the range is taken, as far as is known.
    pub(crate) const fn new(range: (u16, u16)) -> Self {
        Self { range, taken: Mutex::new(None) }
    }

    /// Learns from the Services there are which ports are taken; only the first call does.
    pub(super) fn fill(&self, server: &Server) {
        self.taken.lock().get_or_insert_with(|| {
            server.list("", "services", "").iter().flat_map(|entry| ports_of(&entry.value())).collect()
        });
    }

    /// Gives ports back.
    pub(super) fn release(&self, ports: &[u16]) {
        if let Some(taken) = &mut *self.taken.lock() {
            for port in ports {
                taken.remove(port);
            }
        }
    }

    /// Takes a certain port.
    fn take(&self, port: i64) -> Result<u16, String> {
        let (low, high) = self.range;
        let number = u16::try_from(port).ok().filter(|port| (low..=high).contains(port));
        let Some(number) = number else {
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {low}-{high}"
            ));
        };
        if self.taken.lock().get_or_insert_default().insert(number) {
            Ok(number)
        } else {
            Err("provided port is already allocated".to_owned())
        }
    }

    /// Takes any port: one of the upper part while there is one.
    fn take_any(&self) -> Result<u16, String> {
        let (low, high) = self.range;
        let all: Vec<u16> = (low..=high).collect();
        let (reserved, free) = all.split_at(offset(all.len()));
        let mut taken = self.taken.lock();
        let taken = taken.get_or_insert_default();
        for part in [free, reserved] {
            let available: Vec<u16> = part.iter().copied().filter(|port| !taken.contains(port)).collect();
            if !available.is_empty() {
                let port = available[rand::random_range(0..available.len())];
                taken.insert(port);
                return Ok(port);
            }
        }
        Err("range is full".to_owned())
    }
}

/// How many ports of the range are left to those who ask for a certain one.
fn offset(size: usize) -> usize {
    if size <= LEAST { 0 } else { (size / STEP).clamp(LEAST, MOST) }
}

/// Gives each port of a Service its node port.
pub(super) fn allocate(
    ports: &NodePorts,
    service: &mut Value,
    had: &[u16],
    claimed: &mut Vec<u16>,
) -> Result<(), Vec<FieldError>> {
    // The same number may serve two protocols of one Service.
    let mut own: Vec<(u16, String)> = Vec::new();
    for (index, port) in service["spec"]["ports"].as_array_mut().into_iter().flatten().enumerate() {
        let protocol = fill::text(port, "protocol").to_owned();
        let wanted = fill::int(port, "nodePort").unwrap_or_default();
        let field = format!("spec.ports[{index}].nodePort");
        if wanted == 0 {
            let number = ports.take_any().map_err(|why| {
                vec![FieldError::internal(&*field, format!("failed to allocate a nodePort: {why}"))]
            })?;
            claimed.push(number);
            port["nodePort"] = number.into();
            own.push((number, protocol));
            continue;
        }
        let number = u16::try_from(wanted).unwrap_or_default();
        let shared = own.iter().any(|(other, theirs)| *other == number && *theirs != protocol);
        if !shared && !had.contains(&number) {
            let number = ports.take(wanted).map_err(|why| vec![FieldError::invalid(&*field, wanted, why)])?;
            claimed.push(number);
        }
        own.push((number, protocol));
    }
    Ok(())
}

/// Gives a Service the port for health checks of its nodes.
pub(super) fn allocate_health(
    ports: &NodePorts,
    service: &mut Value,
    had: &[u16],
    claimed: &mut Vec<u16>,
) -> Result<(), Fault> {
    let wanted = fill::int(service, "spec.healthCheckNodePort").unwrap_or_default();
    if wanted != 0 {
        if had.iter().any(|port| i64::from(*port) == wanted) {
            return Ok(());
        }
        let port = ports.take(wanted).map_err(|why| {
            Fault::internal(format!("failed to allocate requested HealthCheck NodePort {wanted}: {why}"))
        })?;
        claimed.push(port);
        return Ok(());
    }
    let port = ports.take_any().map_err(|why| {
        Fault::internal(format!("failed to allocate a HealthCheck NodePort {wanted}: {why}"))
    })?;
    claimed.push(port);
    service["spec"]["healthCheckNodePort"] = port.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn offsets() {
        for (size, expected) in [(2768, 86), (16, 0), (100, 16), (100_000, 128)] {
            assert_eq!(offset(size), expected);
        }
    }

    #[test]
    fn ports_are_given_once() {
        let ports = NodePorts::new((30000, 30002));
        let mut claimed = Vec::new();
        let mut service = json!({"spec": {"ports": [{"protocol": "TCP", "port": 1}, {"protocol": "TCP", "port": 2, "nodePort": 30001}]}});
        // The first may take the port that the second asks for; then the second is refused.
        drop(allocate(&ports, &mut service, &[], &mut claimed));
        assert!(ports.take(29999).is_err());
        ports.release(&claimed);
        assert_eq!(ports.take(30001), Ok(30001));
        assert!(ports.take(30001).is_err());
    }
}
