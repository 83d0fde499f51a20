//! Publishing files that were settled elsewhere.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use voxflow_cache::{Artifact, NewEntry, SettledFile, settle};

/// Files of a maker that has no store, in a folder on the store's file system.
fn handed(home: &Home, number: u32) -> (PathBuf, Vec<SettledFile>) {
    let folder = home.folder.path().join(format!("attempt-{number}/files"));
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::write(folder.join("big"), format!("{number} ").repeat(5000)).unwrap();
    fs::write(folder.join("sub/small"), format!("small {number}")).unwrap();
    let settled = settle(&folder).unwrap();
    (folder, serde_json::from_str(&serde_json::to_string(&settled).unwrap()).unwrap())
}

fn made(number: u32) -> NewEntry {
    let record = json!({ "number": number });
    let adopted = Artifact::default();
    NewEntry { recipe: recipe(number), record, items: vec![], seconds: 1.0, adopted }
}

#[test]
fn files_settled_elsewhere_are_moved_and_no_byte_of_them_is_read_again() {
    let home = Home::new();
    let (folder, settled) = handed(&home, 1);
    let inode = fs::metadata(folder.join("big")).unwrap().ino();
    // A byte that differs with the same size shows that nobody looks at it.
    flip(&folder.join("sub/small"), 0);
    let entry = home.store.publish_settled(&folder, &settled, made(1)).unwrap();
    assert_eq!(fs::metadata(home.store.path(&entry.artifact.0["big"])).unwrap().ino(), inode);
    assert_eq!(entry.artifact.0["sub/small"].digest, settled[1].digest);
    assert_eq!(files_below(folder.parent().unwrap()), [] as [PathBuf; 0]);
    assert_eq!(home.store.verify(1, &|_, _| ()).unwrap().len(), 1, "but verify does");

    let (folder, settled) = handed(&home, 2);
    let entry = home.store.publish_settled(&folder, &settled, made(2)).unwrap();
    assert_toy(&home.store, &entry, 2);
    assert_eq!(recall_toy(&home.store, 2), (entry, Recall::Reused));
}

#[test]
fn a_publisher_that_died_halfway_is_followed_by_another_that_finishes() {
    let home = Home::new();
    let (folder, settled) = handed(&home, 1);
    home.store.publish_settled(&folder, &settled[..1], made(1)).unwrap();
    home.store.forget(&recipe(1).fingerprint()).unwrap();
    assert!(!folder.join("big").exists(), "the first has moved one file");
    let entry = home.store.publish_settled(&folder, &settled, made(1)).unwrap();
    assert_toy(&home.store, &entry, 1);
}

#[test]
fn settled_files_that_are_gone_changed_or_badly_named_are_not_published() {
    let home = Home::new();
    for (trouble, words) in [("gone", "is gone"), ("changed", "was changed after it was hashed")] {
        let (folder, settled) = handed(&home, 1);
        match trouble {
            "gone" => fs::remove_file(folder.join("big")).unwrap(),
            _ => fs::set_permissions(folder.join("big"), fs::Permissions::from_mode(0o600))
                .and_then(|()| fs::write(folder.join("big"), "shorter"))
                .unwrap(),
        }
        let error = home.store.publish_settled(&folder, &settled, made(1)).unwrap_err();
        assert!(error.is_storage() && error.to_string().contains(words), "{error}");
        fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    }
    let (folder, mut settled) = handed(&home, 1);
    settled[0].name = "../../outside".to_string();
    let error = home.store.publish_settled(&folder, &settled, made(1)).unwrap_err();
    assert!(error.to_string().contains("is not a name"), "{error}");
    assert_eq!(home.store.get(&[recipe(1).fingerprint()]).unwrap(), [None]);
}
