//! A client's bytes against the session; `driver::session` says what must hold.

#![no_main]

#[path = "../driver.rs"]
mod driver;

libfuzzer_sys::fuzz_target!(|input: &[u8]| driver::session(input));
