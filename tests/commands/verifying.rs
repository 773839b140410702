//! `verify`: what was tampered with is named, file by file.

use super::{end, project};
use crate::support::{Project, run};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

fn damages(project: &Project, run_id: &str, code: i32) -> Vec<Value> {
    let json = project
        .runchain(&["verify", "--json", "--run", run_id])
        .exits(code)
        .json();
    let told = json["bags"][0]["damages"].as_array().unwrap().iter();
    told.map(|damage| json!([damage["file"], damage["fault"]]))
        .collect()
}

#[test]
fn what_is_as_it_was_sealed_passes() {
    let project = project();
    end(&project, &["a", "b"]);
    let ran = project.runchain(&["verify", "--all"]).exits(0);
    assert_eq!(ran.stdout, "2 bags: all as they were sealed\n");
    let json = project.runchain(&["verify", "--all", "--json"]).exits(0).json();
    assert_eq!(
        json,
        json!({"ok": true, "looked_at": 2, "damaged": 0, "bags": []})
    );
    let ran = project.runchain(&["verify", "--run", "a"]).exits(0);
    assert!(ran.stdout.contains("/.archive/a"), "{}", ran.stdout);
    project.runchain(&["verify", "--run", "c"]).exits(13);
    project.runchain(&["verify"]).exits(2);
}

#[test]
fn each_way_of_tampering_names_exactly_the_file() {
    let project = project();
    end(&project, &["flipped", "missing", "extra", "gone", "tag", "fine"]);
    let bag = |run_id: &str, file: &str| project.path(".archive").join(run_id).join(file);

    let flipped = bag("flipped", "data/run.json");
    let mut bytes = fs::read(&flipped).unwrap();
    bytes[0] ^= 1;
    fs::write(&flipped, bytes).unwrap();
    fs::remove_file(bag("missing", "data/names.json")).unwrap();
    fs::write(bag("extra", "data/more.txt"), "").unwrap();
    fs::write(bag("extra", "notes.txt"), "").unwrap();
    fs::remove_dir_all(bag("gone", "")).unwrap();
    fs::write(bag("tag", "bag-info.txt"), "Payload-Oxum: 1.1\n").unwrap();

    assert_eq!(
        damages(&project, "flipped", 34),
        [json!(["data/run.json", "changed"])]
    );
    assert_eq!(
        damages(&project, "missing", 34),
        [json!(["data/names.json", "missing"])]
    );
    assert_eq!(
        damages(&project, "extra", 34),
        [json!(["data/more.txt", "extra"]), json!(["notes.txt", "extra"])]
    );
    assert_eq!(damages(&project, "gone", 34), [json!([".", "missing"])]);
    assert_eq!(damages(&project, "tag", 34), [json!(["bag-info.txt", "changed"])]);
    assert_eq!(damages(&project, "fine", 0), [json!(0); 0]);

    let all = project.runchain(&["verify", "--all"]).exits(34);
    for (run_id, file) in [
        ("flipped", "data/run.json"),
        ("missing", "data/names.json"),
        ("extra", "data/more.txt"),
    ] {
        assert!(
            all.stdout.contains(&format!("run {run_id}, generation 1")) && all.stdout.contains(file),
            "{}",
            all.stdout
        );
    }
    assert!(!all.stdout.contains("fine"), "{}", all.stdout);
    assert!(
        all.stderr.contains("5 of 6 bags are not as sealed"),
        "{}",
        all.stderr
    );
}

/// Every manifest is right again: only the database knows better.
#[test]
fn a_bag_whose_manifests_were_written_anew_is_found_by_the_digest_in_the_database() {
    let project = project();
    end(&project, &["r"]);
    let bag = project.path(".archive/r");
    let mut script = Command::new("sh");
    script.current_dir(&bag).args([
        "-ec",
        "echo >> data/run.json
         bytes=$(cat $(find data -type f) | wc -c); files=$(find data -type f | wc -l)
         sed -i \"s/^Payload-Oxum: .*/Payload-Oxum: $bytes.$files/\" bag-info.txt
         find data -type f | LC_ALL=C sort | xargs sha256sum > manifest-sha256.txt
         sha256sum bag-info.txt bagit.txt manifest-sha256.txt > tagmanifest-sha256.txt
         sha256sum --check --strict --quiet manifest-sha256.txt tagmanifest-sha256.txt",
    ]);
    assert!(run(&mut script, "").success);
    assert_eq!(
        damages(&project, "r", 34),
        [json!(["tagmanifest-sha256.txt", "changed"])]
    );
}

#[test]
fn the_bag_of_an_older_generation_stands_aside_and_is_checked_too() {
    let project = project();
    end(&project, &["r"]);
    project.sql("UPDATE runs SET status = 'RUNNING' WHERE run_id = 'r';");
    project.runchain(&["drain", "--once"]).exits(0);
    project.sql("UPDATE runs SET status = 'FAILED' WHERE run_id = 'r';");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let json = project
        .runchain(&["verify", "--json", "--run", "r"])
        .exits(0)
        .json();
    assert_eq!((&json["looked_at"], &json["ok"]), (&2.into(), &true.into()));
    let older = json["bags"][0]["path"].as_str().unwrap().to_owned();
    assert!(older.contains("~g1-"), "{older}");
    fs::remove_file(format!("{older}/data/run.json")).unwrap();
    let json = project
        .runchain(&["verify", "--json", "--run", "r"])
        .exits(34)
        .json();
    assert_eq!(
        (
            &json["bags"][0]["ok"],
            &json["bags"][1]["ok"],
            &json["bags"][0]["damages"][0]["file"]
        ),
        (&false.into(), &true.into(), &"data/run.json".into())
    );
}
