//! A disk that fails once, at every operation in turn: the maker hears of it, nothing half-made is
//! seen, and the next one finishes.

use super::*;
use voxflow_cache::fault::{MARK, VARIABLE};

#[test]
fn whichever_operation_fails_the_error_is_told_and_the_next_maker_finishes() {
    for how in ["ENOSPC", "EIO"] {
        let mut told = 0;
        for number in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let (root, mark) = (folder.path().join("store-v1"), folder.path().join("failed"));
            let mut command = children::command("faulty", &root);
            let output =
                command.env(VARIABLE, format!("{number}:{how}")).env(MARK, &mark).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{how} at operation {number}: {said}");
            told += usize::from(said.contains("told: "));
            let home = Home { store: Store::open(&root).unwrap(), folder };
            let (entry, _) = recall_toy(&home.store, 1);
            assert_toy(&home.store, &entry, 1);
            assert_eq!(
                home.store.verify(2, &|_, _| ()).unwrap(),
                [],
                "{how} at operation {number}"
            );
            assert_eq!(files_below(&root.join("drafts")), [] as [PathBuf; 0]);
            if !mark.exists() {
                assert!(number > 20 && told > 15, "{told} of {number} operations failed");
                break;
            }
        }
    }
}
