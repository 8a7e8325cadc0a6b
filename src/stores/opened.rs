//! A store as one process has it: opened on first need, and again in the child of a fork. Owns the opened store; knows
//! nothing of what is kept in it.

use crate::spin::Spin;
use crate::sys;
use iris_store::{Kind, Store, StoreError};
use std::sync::Arc;

/// Opens a store. Called on a thread of the service, in each process that needs it.
pub type Opener = Box<dyn Fn() -> Result<Arc<dyn Store>, StoreError> + Send + Sync>;

/// See the module.
pub struct Opened {
    opener: Opener,
    store: Spin<Option<(u32, Arc<dyn Store>)>>,
}

impl Opened {
    /// One that is opened on first need.
    pub fn new(opener: Opener) -> Opened {
        Opened { opener, store: Spin::new(None) }
    }

    /// The store. On a thread of the service.
    ///
    /// # Errors
    /// What it could not be opened for.
    pub fn store(&self) -> Result<Arc<dyn Store>, StoreError> {
        let busy = || StoreError::new(Kind::Closed, "the store", None, "a signal interrupted its opening");
        let pid = sys::pid();
        let open = |slot: &Option<(u32, Arc<dyn Store>)>| {
            slot.as_ref().filter(|(owner, _)| *owner == pid).map(|(_, store)| store.clone())
        };
        if let Some(store) = open(&*self.store.lock().ok_or_else(busy)?) {
            return Ok(store);
        }
        // Without the lock, which a fork waits for: this may take as long as a server takes to answer.
        let store = (self.opener)()?;
        let mut slot = self.store.lock().ok_or_else(busy)?;
        if let Some(first) = open(&slot) {
            drop(slot);
            return Ok(first);
        }
        // A parent's store is the parent's: its locks may be held by threads that do not exist here.
        std::mem::forget(slot.replace((pid, store.clone())));
        Ok(store)
    }

    /// Before fork.
    pub fn lock(&self) {
        if let Some(store) = self.store.lock() {
            Spin::leak(store);
        }
    }

    /// After fork, in the parent and in the child.
    ///
    /// # Safety
    /// Follows [`Opened::lock`] on the same thread (in the child: its copy).
    pub unsafe fn unlock(&self) {
        // SAFETY: by contract.
        unsafe { self.store.reset() };
    }
}
