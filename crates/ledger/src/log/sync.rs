//! Group commit: makes what the log has written durable, beside the writer and never in its way.
//!
//! The writer tells [`SyncState`] of every append; a thread of its own ([`SyncThread`]) calls `fdatasync` at most once
//! per interval while there is something to sync. A sync that fails cannot be tried again (the kernel may have dropped
//! the pages), so it fails the log: the writer refuses all further shares and says why.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is written and what is safe.
#[derive(Debug, Default)]
struct State {
    /// The segment being written: its number, its file, bytes written.
    current: Option<(u64, Arc<File>, u64)>,
    /// Segments rolled over whose end is not synced yet.
    rolled: Vec<Arc<File>>,
    /// Of the current segment: its number and how many bytes are on the disk.
    synced: (u64, u64),
    dirty: bool,
    stop: bool,
    failure: Option<String>,
}

/// Shared by the writer and whoever syncs.
#[derive(Debug, Default)]
pub(super) struct SyncState {
    state: Mutex<State>,
    changed: Condvar,
}

impl SyncState {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it, and the state is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new segment is written from here on.
    pub(super) fn begin(&self, number: u64, file: Arc<File>, written: u64) {
        let mut state = self.lock();
        if let Some((_, old, _)) = state.current.replace((number, file, written)) {
            state.rolled.push(old);
        }
        state.dirty = true;
        self.changed.notify_one();
    }

    /// The current segment now has `written` bytes.
    pub(super) fn wrote(&self, written: u64) {
        let mut state = self.lock();
        if let Some(current) = &mut state.current {
            current.2 = written;
        }
        if !state.dirty {
            state.dirty = true;
            self.changed.notify_one();
        }
    }

    /// Bytes of segment `number` that are on the disk.
    pub(super) fn synced(&self, number: u64) -> u64 {
        let synced = self.lock().synced;
        if synced.0 == number { synced.1 } else { 0 }
    }

    /// Why syncing failed, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// True while something written is not on the disk yet.
    pub(super) fn is_dirty(&self) -> bool {
        self.lock().dirty
    }

    /// Syncs all that is written now. Blocks for as long as the disk takes; appends go on meanwhile.
    pub(super) fn sync(&self) -> Result<(), String> {
        let (current, rolled) = {
            let mut state = self.lock();
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            state.dirty = false;
            (state.current.clone(), std::mem::take(&mut state.rolled))
        };
        let result = rolled.iter().try_for_each(|file| file.sync_data()).and_then(|()| match &current {
            Some((_, file, _)) => file.sync_data(),
            None => Ok(()),
        });
        let mut state = self.lock();
        match (result, current) {
            (Ok(()), Some((number, _, written))) if (number, written) > state.synced => {
                state.synced = (number, written);
            }
            (Ok(()), _) => {}
            (Err(error), _) => {
                state.failure = Some(error.to_string());
                return Err(error.to_string());
            }
        }
        Ok(())
    }
}

/// The thread that syncs; dropping it syncs once more and ends it.
#[derive(Debug)]
pub(super) struct SyncThread {
    shared: Arc<SyncState>,
    thread: Option<JoinHandle<()>>,
}

impl SyncThread {
    pub(super) fn spawn(shared: Arc<SyncState>, interval: Duration) -> std::io::Result<Self> {
        let state = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("log-sync".into()).spawn(move || run(&state, interval))?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

fn run(shared: &SyncState, interval: Duration) {
    loop {
        let mut state = shared.lock();
        while !state.dirty && !state.stop {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // Let a group gather, unless we are to end.
        if !state.stop {
            let waited = shared.changed.wait_timeout_while(state, interval, |state| !state.stop);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let stop = state.stop;
        drop(state);
        if let Err(error) = shared.sync() {
            tracing::error!(
                "the share log cannot be synced to its disk ({error}): no more shares are accepted"
            );
            return;
        }
        if stop {
            return;
        }
    }
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
