//! adjtimex(2): whether something keeps the host's clock right. clock_getcpuclockid(3): how long
//! a process has been at work.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

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

/// User and system time of process `pid` since its start, its threads together, those that have
/// ended too. The kernel counts it in nanoseconds, where proc(5) has hundredths of a second.
///
/// # Errors
/// `InvalidInput` for what cannot be a process; else what the kernel said.
pub fn process_cpu_time(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the call writes one clock id to where it is told to, which lives through it.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: as above, for a timespec.
    super::option::done(unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, and every bit pattern of its integers is valid.
    let time = unsafe { time.assume_init() };
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_long_this_process_has_been_at_work_and_none_that_is_not_there() {
        let own = std::process::id();
        let before = process_cpu_time(own).unwrap();
        let sum: u64 = (0..1_000_000_u64).map(std::hint::black_box).sum();
        assert!(process_cpu_time(own).unwrap() > before, "{sum}");
        assert!(process_cpu_time(u32::MAX).is_err());
        let beyond_the_largest = (1 << 22) + 1;
        assert!(process_cpu_time(beyond_the_largest).is_err());
    }
}
