//! mm4d receives multimedia messages over MM4, the SMTP-based interface
//! between MMS centres (3GPP TS 23.140), and spools each as a durable `.eml`.

pub mod events;
pub mod mm4;
pub mod smtp;
pub mod spool;
