//! Logging a client in, by its password or by its network.

use std::io;
use std::ops::ControlFlow;

use super::{Connection, Why};
use crate::log;
use crate::server::accounts::{Accounts, Recognition, Refused};
use crate::server::hash_queue::{Place, Turn};
use crate::server::peers::Prefix;
use crate::server::stream::Wait;
use crate::smtp::{Credentials, SystemId, reply};

impl<'s> Connection<'s> {
    /// Verifies a login. A login that needs a hash waits for its turn, under the
    /// same clocks as any wait for the client.
    #[inline(never)]
    pub(super) fn verify(&mut self, credentials: &Credentials) -> io::Result<ControlFlow<Why>> {
        let accounts = self.shared.accounts();
        let address = self.peer.ip();
        let login = match accounts.recognise(credentials, address) {
            Recognition::Correct(system_id) => Ok(system_id),
            Recognition::Refused => Err(Refused::Credentials),
            Recognition::Unknown => match self.wait_for_turn()? {
                ControlFlow::Continue(_turn) => accounts.verify(credentials, address),
                ControlFlow::Break(why) => return Ok(ControlFlow::Break(why)),
            },
        };
        self.shared.metrics.login(login.is_ok());
        match &login {
            Ok(system_id) => {
                if let ControlFlow::Break(why) = self.log_in(system_id, &accounts) {
                    return Ok(ControlFlow::Break(why));
                }
            }
            Err(Refused::Credentials) => {
                let authcid = &credentials.authcid;
                log::login_failed(self.peer, authcid, accounts.knows(authcid))
            }
            Err(Refused::Network) => log::login_from_elsewhere(self.peer, &credentials.authcid),
        }
        let next = self.session.verified(login.ok());
        self.perform(next)
    }

    /// Counts the connection for the account, which may have its maximum already.
    pub(super) fn log_in(&mut self, system_id: &SystemId, accounts: &Accounts) -> ControlFlow<Why> {
        let max = accounts.max_connections(system_id);
        if !self.slot.log_in(system_id, max) {
            self.shared.metrics.refused("max-of-the-account");
            log::refused(self.peer.ip(), "max of the account");
            return self.hang_up(&reply::TOO_MANY_CONNECTIONS_421);
        }
        self.account = Some(self.shared.metrics.account(system_id));
        log::login(self.peer, system_id.as_str());
        ControlFlow::Continue(())
    }

    /// Logs a client in whose address is in a network of an account without a
    /// hash.
    #[inline(never)]
    pub(super) fn log_in_by_network(&mut self) -> ControlFlow<Why> {
        let accounts = self.shared.accounts();
        let Some(system_id) = accounts.of_network(self.peer.ip()) else {
            return ControlFlow::Continue(());
        };
        self.session.log_in_by_network(system_id.clone());
        self.log_in(system_id, &accounts)
    }

    /// Waits until this client may have a password hashed. A client that has
    /// closed gets no turn: what it has sent so far is answered first, so that
    /// its system can report the close.
    pub(super) fn wait_for_turn(&mut self) -> io::Result<ControlFlow<Why, Turn>> {
        self.flush()?;
        if self.stream.has_hung_up() {
            return Ok(ControlFlow::Break("client closed".into()));
        }
        let queue = &self.shared.hash_queue;
        let waiting = match queue.enter(self.prefix(), self.slot.is_known()) {
            Place::Turn(turn) => return Ok(ControlFlow::Continue(turn)),
            Place::Waiting(waiting) => waiting,
        };
        loop {
            match self.stream.wait_for(waiting.fd(), self.clock())? {
                Wait::Ready => {
                    if let Some(turn) = waiting.turn() {
                        return Ok(ControlFlow::Continue(turn));
                    }
                }
                Wait::HungUp => return Ok(ControlFlow::Break("client closed".into())),
                Wait::Deadline => return Ok(self.hang_up(&reply::TIMEOUT_421)),
                Wait::Stop => return Ok(self.hang_up(&reply::SHUTTING_DOWN_421)),
            }
        }
    }

    pub(super) fn prefix(&self) -> Prefix {
        self.slot
            .prefix()
            .unwrap_or_else(|| Prefix::of(self.peer.ip()))
    }
}
