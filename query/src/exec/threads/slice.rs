//! The time slices that the operating system gives a thread.

use std::time::Duration;

/// Long against the slices of other threads, which are 1 to 3 ms.
const LONG: Duration = Duration::from_millis(20);

/// While this lives, its thread asks for long time slices, from Linux 6.12 on.
///
/// A thread that computes for long only says with this that it need not be switched often, and gets no less time. A thread that wakes
/// up and wants an earlier end, as all others do, then runs at once, and not when the next slice of this one ends.
pub(super) struct LongSlices {
    before: Option<Duration>,
}

impl LongSlices {
    /// Asks for them. If that fails, the slices stay as they are.
    pub(super) fn ask() -> Self {
        Self { before: replace(LONG) }
    }
}

impl Drop for LongSlices {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            replace(before);
        }
    }
}

/// Sets this thread's slice; gives what it was before. `None` when there is nothing to set.
#[cfg(target_os = "linux")]
fn replace(slice: Duration) -> Option<Duration> {
    const THIS_THREAD: libc::c_long = 0;
    const NO_FLAGS: libc::c_long = 0;
    const SIZE: usize = size_of::<libc::sched_attr>();

    let mut attributes = libc::sched_attr {
        size: SIZE as u32,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    #[expect(unsafe_code, reason = "no crate has a safe call for the slices of ordinary threads")]
    // SAFETY: both calls get a struct of the size that they are told, which outlives them.
    unsafe {
        // What is not to change has to be set as it is.
        let got = libc::syscall(libc::SYS_sched_getattr, THIS_THREAD, &raw mut attributes, SIZE, NO_FLAGS);
        let is_ordinary = matches!(attributes.sched_policy as i32, libc::SCHED_OTHER | libc::SCHED_BATCH);
        if got != 0 || !is_ordinary {
            return None;
        }
        let before = Duration::from_nanos(attributes.sched_runtime);
        attributes.sched_runtime = slice.as_nanos() as u64;
        let set = libc::syscall(libc::SYS_sched_setattr, THIS_THREAD, &raw const attributes, NO_FLAGS);
        (set == 0).then_some(before)
    }
}

/// Other systems have no such call.
#[cfg(not(target_os = "linux"))]
fn replace(_slice: Duration) -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_as_before_behind_long_ones() {
        // Kernels before 6.12 and other systems tell nothing of slices.
        let Some(before) = replace(Duration::from_millis(2)) else { return };
        drop(LongSlices::ask());
        let after = replace(before);
        assert!(after == Some(Duration::from_millis(2)) || before.is_zero());
    }
}
