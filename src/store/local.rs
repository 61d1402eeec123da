//! stub
use super::*;
#[derive(Debug)]
pub struct LocalStore {
    location: Location,
}
impl LocalStore {
    pub fn new(path: std::path::PathBuf) -> Self {
        Self { location: Location::directory(&path) }
    }
}
macro_rules! stub_store {
    ($t:ty) => {
        impl Store for $t {
            fn location(&self) -> &Location {
                todo!()
            }
            fn connections(&self) -> NonZeroUsize {
                todo!()
            }
            fn create(&self) -> Result<(), StoreError> {
                todo!()
            }
            fn survey(&self) -> Result<Survey, StoreError> {
                todo!()
            }
            fn put(&self, _: &ObjectName, _: &[&[u8]]) -> Result<(), StoreError> {
                todo!()
            }
            fn get(&self, _: &ObjectName, _: ByteRange) -> Result<Vec<u8>, StoreError> {
                todo!()
            }
            fn size(&self, _: &ObjectName) -> Result<u64, StoreError> {
                todo!()
            }
            fn list(
                &self,
                _: ObjectKind,
                _: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
            ) -> Result<(), StoreError> {
                todo!()
            }
            fn delete(&self, _: &ObjectName) -> Result<(), StoreError> {
                todo!()
            }
            fn publish(&self, _: &ObjectName, _: &ObjectName) -> Result<(), StoreError> {
                todo!()
            }
            fn sync(&self) -> Result<(), StoreError> {
                todo!()
            }
        }
    };
}
stub_store!(LocalStore);
