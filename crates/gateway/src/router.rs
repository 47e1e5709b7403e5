//! Which box gets a task.
//!
//! Rules: boxes that ask for the model take turns; a box that has failed a task is not asked for
//! it again; a newer connection of an operator replaces the older.
//! Never here: links, money.

use crate::boxes::BoxHandle;
use crypto::{ModelId, OperatorId};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Boxes connected at one time.
pub(crate) const MAX_BOXES: usize = 1_024;

/// The boxes that are connected now.
#[derive(Debug, Default)]
pub(crate) struct Router {
    boxes: RwLock<BTreeMap<OperatorId, Arc<BoxHandle>>>,
    turn: AtomicUsize,
}

impl Router {
    /// Adds a box. Gives it back if there is no room.
    pub(crate) fn add(&self, handle: Arc<BoxHandle>) -> Result<(), Arc<BoxHandle>> {
        let mut boxes = self.boxes.write().unwrap_or_else(PoisonError::into_inner);
        if boxes.len() >= MAX_BOXES && !boxes.contains_key(&handle.operator) {
            return Err(handle);
        }
        boxes.insert(handle.operator, handle);
        Ok(())
    }

    /// Removes a box, unless a newer connection of it has taken its place.
    pub(crate) fn remove(&self, handle: &Arc<BoxHandle>) {
        let mut boxes = self.boxes.write().unwrap_or_else(PoisonError::into_inner);
        if boxes.get(&handle.operator).is_some_and(|known| Arc::ptr_eq(known, handle)) {
            boxes.remove(&handle.operator);
        }
    }

    /// All boxes that ask for a model.
    pub(crate) fn asking(&self, model: &ModelId) -> Vec<Arc<BoxHandle>> {
        let boxes = self.boxes.read().unwrap_or_else(PoisonError::into_inner);
        boxes.values().filter(|handle| handle.asks.contains_key(model)).cloned().collect()
    }

    /// The same in the order in which they should be tried for one request.
    pub(crate) fn candidates(&self, model: &ModelId) -> Vec<Arc<BoxHandle>> {
        let mut found = self.asking(model);
        if !found.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % found.len();
            found.rotate_left(turn);
        }
        found
    }

    /// All boxes.
    pub(crate) fn all(&self) -> Vec<Arc<BoxHandle>> {
        let boxes = self.boxes.read().unwrap_or_else(PoisonError::into_inner);
        boxes.values().cloned().collect()
    }

    /// One box.
    pub(crate) fn get(&self, operator: &OperatorId) -> Option<Arc<BoxHandle>> {
        let boxes = self.boxes.read().unwrap_or_else(PoisonError::into_inner);
        boxes.get(operator).cloned()
    }
}
