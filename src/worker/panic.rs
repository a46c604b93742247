//! What a panic does: it ends the process.
//!
//! A panic is a bug, and half a server is worse than none: whoever watches the process starts it
//! again. Called by `main.rs` before there are threads.

/// From here on a panic of any thread is reported with the thread's name, and aborts (SIGABRT).
pub fn end_process() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
