//! sched_setaffinity(2): which CPU a thread runs on.

use std::io;

use super::option::done;

/// Keeps the calling thread on CPU number `cpu`, 0-based.
///
/// # Errors
/// `InvalidInput` for a number that this host or the kernel interface does not have, or what
/// sched_setaffinity said.
pub fn pin_current_thread(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: cpu_set_t is an array of integers; all zero is a valid (empty) set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` is below CPU_SETSIZE, so the bit is within the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the kernel reads `size_of` bytes from `set`, which lives through the call; thread 0
    // is the calling one.
    let result =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    done(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_cpu_that_does_not_exist() {
        assert!(pin_current_thread(usize::MAX).is_err());
        assert!(pin_current_thread(libc::CPU_SETSIZE as usize - 1).is_err());
    }
}
