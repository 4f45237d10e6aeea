//! A mail's header against the reader of its MM4 fields; `driver::header` says
//! what must hold.

#![no_main]

#[path = "../driver.rs"]
mod driver;

libfuzzer_sys::fuzz_target!(|input: &[u8]| driver::header(input));
