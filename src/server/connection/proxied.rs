//! The start of a proxied connection: the PROXY header, and the client that it names.

use std::net::SocketAddr;

use super::{Connection, Why};
use crate::log;
use crate::server::proxy::{self, Header};
use crate::server::stream::Clock;
use crate::smtp::reply::{self, Reply};

impl<'s> Connection<'s> {
    /// Reads the header of a proxy, counts the connection for the client that it
    /// names, and serves it. Nothing is sent before that, nor if it fails.
    pub(super) fn run_proxied(mut self) -> (SocketAddr, Why) {
        match self.identify() {
            Ok(None) => self.run(),
            Ok(Some((reply, why))) => self.turn_away(&reply, why),
            Err(why) => (self.peer, why),
        }
    }

    /// Why there is no valid header; otherwise why the client it names is refused.
    #[inline(never)]
    fn identify(&mut self) -> Result<Option<(Reply, Why)>, Why> {
        let clock = Clock {
            deadline: self.login_deadline,
            stop: Some(self.shared.stop.sessions()),
        };
        if let Header::Client(address) = proxy::read(&mut self.stream, self.peer, clock)? {
            self.peer = address;
            log::connected(self.peer, self.stream.is_tls());
        }
        let known = self.shared.accounts().is_known(self.peer.ip());
        if let Err(refusal) = self.slot.identify(self.peer.ip(), known) {
            self.shared.metrics.refused(refusal.limit);
            if refusal.log {
                log::refused(self.peer.ip(), refusal.limit);
            }
            let why = refusal.limit.into();
            return Ok(Some((reply::TOO_MANY_CONNECTIONS_421, why)));
        }
        Ok(self.refusal().map(|reply| (reply, "not available".into())))
    }

    /// Sends the reply, which has no place before a TLS handshake, and closes.
    fn turn_away(mut self, reply: &Reply, why: Why) -> (SocketAddr, Why) {
        if self.stream.is_tls() {
            return (self.peer, why);
        }
        self.say(reply);
        match self.flush() {
            Ok(()) => self.close(why),
            Err(error) => (self.peer, error.to_string().into()),
        }
    }

    /// The greeting of a server that a balancer should not use now. A client that is
    /// greeted so is sent to another server, so lack of space counts too, which a
    /// client without a balancer is answered with 452.
    fn refusal(&self) -> Option<Reply> {
        if self.shared.stop.is_ending() {
            Some(reply::SHUTTING_DOWN_421)
        } else if !self.shared.spool.is_available() || self.shared.spool.is_short_of_space() {
            Some(reply::SPOOL_UNAVAILABLE_421)
        } else {
            None
        }
    }
}
