//! The start of a proxied connection: the PROXY header, and the client that it names.

use std::ops::ControlFlow;

use super::{Connection, Why};
use crate::log;
use crate::server::proxy::{Header, HeaderReader};
use crate::server::stream::{Clock, Received};
use crate::smtp::reply::{self, Reply};

impl<'s> Connection<'s> {
    /// Reads the header of a proxy and counts the connection for the client that
    /// it names. Nothing is sent before that, nor if it fails.
    #[inline(never)]
    pub(super) fn identify(&mut self) -> ControlFlow<Why> {
        let header = match self.read_header() {
            Ok(header) => header,
            Err(why) => return ControlFlow::Break(why),
        };
        if let Header::Client(address) = header {
            self.peer = address;
            log::connected(self.peer, self.stream.is_tls());
        }
        let known = self.shared.accounts().is_known(self.peer.ip());
        if let Err(refusal) = self.slot.identify(self.peer.ip(), known) {
            self.shared.metrics.refused(refusal.limit);
            if refusal.log {
                log::refused(self.peer.ip(), refusal.limit);
            }
            if !self.stream.is_tls() {
                self.say(&reply::TOO_MANY_CONNECTIONS_421);
                let _ = self.flush();
            }
            return ControlFlow::Break(refusal.limit.into());
        }
        match self.refusal() {
            Some(_) if self.stream.is_tls() => ControlFlow::Break("not available".into()),
            Some(reply) => {
                let flow = self.hang_up(&reply);
                let _ = self.flush();
                flow
            }
            None => ControlFlow::Continue(()),
        }
    }

    /// The greeting of a server that a balancer should not use now. A client that is
    /// greeted so is sent to another server, so lack of space counts too, which a
    /// client without a balancer is answered with 452.
    fn refusal(&self) -> Option<Reply> {
        if self.shared.stop.is_draining() {
            Some(reply::SHUTTING_DOWN_421)
        } else if !self.shared.spool.is_available() || self.shared.spool.is_short_of_space() {
            Some(reply::SPOOL_UNAVAILABLE_421)
        } else {
            None
        }
    }

    pub(super) fn read_header(&mut self) -> Result<Header, Why> {
        let clock = Clock {
            deadline: self.login_deadline,
            stop: Some(self.shared.stop.sessions()),
        };
        let mut reader = HeaderReader::default();
        let mut buffer = vec![0; 256];
        let why: Why = loop {
            let size = reader.wanted().min(buffer.len());
            let room = buffer.get_mut(..size).unwrap_or_default();
            match self.stream.read_raw(room, clock) {
                Ok(Received::Bytes(count)) => {
                    match reader.push(buffer.get(..count).unwrap_or_default()) {
                        Ok(Some(header)) => return Ok(header),
                        Ok(None) => {}
                        Err(error) => break error.to_string().into(),
                    }
                }
                // A health check that only connects.
                Ok(Received::End) if reader.is_empty() => return Err("client closed".into()),
                Err(error) if reader.is_empty() => return Err(error.to_string().into()),
                Ok(Received::Stop) => return Err("shutting down".into()),
                Ok(Received::End) => break "closed inside the header".into(),
                Ok(Received::Deadline) => break "no PROXY header in time".into(),
                Err(error) => break error.to_string().into(),
            }
        };
        log::proxy_header_failed(self.peer, &why);
        Err(why)
    }
}
