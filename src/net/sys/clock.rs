//! adjtimex(2): whether something keeps the host's clock right.

use std::io;
use std::mem::MaybeUninit;

/// True when the kernel knows that the host's clock is kept in step with another one (NTP, PTP).
///
/// # Errors
/// What adjtimex said.
pub fn is_clock_synchronised() -> io::Result<bool> {
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: `timex` is zeroed, so `modes` is 0 and nothing is set; the kernel fills all of it.
    let state = unsafe { libc::adjtimex(timex.as_mut_ptr()) };
    super::option::done(state)?;
    // SAFETY: the call succeeded, and every bit pattern of its integers is valid.
    let timex = unsafe { timex.assume_init() };
    Ok(timex.status & libc::STA_UNSYNC == 0)
}
