//! A spool without a server: messages for it, and what must hold of it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::thread;

use mm4d::smtp::mailbox::{forward_path, reverse_path};
use mm4d::smtp::{Envelope, SystemId};
use mm4d::spool::trace::Origin;
use mm4d::spool::{Committed, Reserve, Spool, SpoolError};

use super::content;
use super::disk::FaultyDisk;

/// No space is kept free.
pub const NO_RESERVE: Reserve = Reserve {
    max_message_size: 10_485_760,
    min_free: 0,
};

fn envelope() -> Envelope {
    Envelope {
        hello: "client.example".into(),
        system_id: SystemId::parse("peer1").unwrap(),
        reverse_path: reverse_path("<>").unwrap().0,
        forward_paths: vec![forward_path("<+972500000001@test.example>").unwrap().0],
    }
}

/// Spools a message, in pieces.
pub fn deliver(spool: &Arc<Spool>, mail: &[u8]) -> Result<Committed, SpoolError> {
    let origin = Origin {
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        tls: false,
    };
    let mut draft = spool.open(&envelope(), origin)?;
    for piece in mail.chunks(20_000) {
        draft = draft.write(piece)?;
    }
    draft.commit()
}

/// Spools all at once; gives what was acknowledged, by file name.
pub fn deliver_all(spool: &Arc<Spool>, mails: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    thread::scope(|scope| {
        let sessions: Vec<_> = mails
            .iter()
            .map(|mail| scope.spawn(move || deliver(spool, mail).ok()))
            .collect();
        let outcomes = sessions.into_iter().map(|session| session.join().unwrap());
        outcomes
            .zip(mails)
            .filter_map(|(done, mail)| Some((done?.id.file_name(), mail.clone())))
            .collect()
    })
}

/// What must hold whatever broke.
pub fn check(disk: &FaultyDisk, acknowledged: &[(String, Vec<u8>)], mails: &[Vec<u8>], what: &str) {
    let worst = disk.new_after_the_worst_cut();
    for (name, mail) in acknowledged {
        let found = worst
            .get(name)
            .unwrap_or_else(|| panic!("{what}: {name} is lost"));
        assert!(content(found) == *mail, "{what}: {name} is not whole");
    }
    for files in [disk.new_now(), worst, disk.new_after_a_lucky_cut()] {
        for (name, found) in files {
            assert!(
                mails.contains(&content(&found)),
                "{what}: {name} in new/ is in part"
            );
        }
    }
}

/// Messages of different sizes, the first small.
pub fn mails(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| {
            let line = format!("{number} of {count}, and not to be lost\r\n");
            line.into_bytes().repeat(1 + number * 2000)
        })
        .collect()
}
