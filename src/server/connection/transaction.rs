//! The transaction of a client: its space in the spool, its draft, and its message.

use std::time::Instant;

use super::Connection;
use super::clocks::Pace;
use crate::log::{self, Sent};
use crate::smtp::Envelope;
use crate::spool::trace::Origin;

impl<'s> Connection<'s> {
    pub(super) fn reserve(&mut self, bytes: u64) {
        // The old reservation, if there is one, must not count beside the new one.
        self.release();
        self.reservation = self.shared.spool.reserve(bytes);
        self.reserved_until = self
            .reservation
            .is_some()
            .then(|| Instant::now() + self.reservation_time);
    }

    pub(super) fn release(&mut self) {
        self.reservation = None;
        self.stop_reservation_clock();
    }

    /// What is left of the time is for the next transaction, so that a client
    /// that begins one after the other does not hold space for ever.
    fn stop_reservation_clock(&mut self) {
        if let Some(end) = self.reserved_until.take() {
            self.reservation_time = end.saturating_duration_since(Instant::now());
        }
    }

    /// A client that does not reach DATA in time keeps no space from others.
    pub(super) fn expire_reservation(&mut self) {
        if self.reserved_until.is_some_and(|end| Instant::now() >= end) {
            self.release();
            self.session.reservation_expired();
        }
    }

    #[inline(never)]
    pub(super) fn open(&mut self, envelope: &Envelope) {
        self.stop_reservation_clock();
        let origin = Origin {
            peer: self.peer.ip(),
            tls: self.stream.tls_version().is_some(),
        };
        match self.shared.spool.open(envelope, origin) {
            Ok(draft) => self.draft = Some((draft, Sent::from(envelope))),
            Err(error) => {
                log::spool_failed(self.peer, &error);
                self.discard();
            }
        }
        self.pace = Pace::default();
        let reply = self.session.opened(self.draft.is_some());
        self.say(&reply);
    }

    pub(super) fn write(&mut self, content: &[u8]) {
        let Some((draft, sent)) = self.draft.take() else {
            return;
        };
        let reserved = self
            .reservation
            .as_mut()
            .is_none_or(|reservation| reservation.receive(content.len() as u64));
        if reserved {
            match draft.write(content) {
                Ok(draft) => {
                    self.draft = Some((draft, sent));
                    return;
                }
                Err(error) => log::spool_failed(self.peer, &error),
            }
        }
        self.discard();
        self.session.spool_failed();
    }

    pub(super) fn discard(&mut self) {
        self.draft = None;
        self.release();
    }

    #[inline(never)]
    pub(super) fn commit(&mut self) {
        let result = self
            .draft
            .take()
            .map(|(draft, sent)| (draft.commit(), sent));
        let reply = match result {
            Some((Ok(mail), sent)) => {
                let received = log::Received {
                    id: mail.id.as_str(),
                    bytes: mail.bytes,
                    summary: &mail.summary,
                };
                log::mail(self.peer, self.stream.tls_version(), &sent, &received);
                if let Some(account) = &self.account {
                    account.accepted(mail.bytes);
                }
                self.reservation_time = self.shared.clocks.login_timeout;
                self.session.committed(Some(mail.id.as_str()))
            }
            Some((Err(error), _)) => {
                log::spool_failed(self.peer, &error);
                self.session.committed(None)
            }
            None => self.session.committed(None),
        };
        self.release();
        self.say(&reply);
    }
}
