//! The answers about images and tasks. An image called `moved` changes under a tag, one called
//! `bad` can't be pulled, and one called `endless` is pulled for ever.

use serde_json::{Value, json};

const DONE: &str = "tsk_0000000000000001";
const FAILED: &str = "tsk_0000000000000002";
const ENDLESS: &str = "tsk_0000000000000003";

/// The answer to a request, if it is about these.
pub(crate) fn answer(
    method: &str,
    parts: &[&str],
    query: &str,
    body: &Value,
) -> Option<(u16, Value)> {
    Some(match (method, parts) {
        ("GET", ["images"]) => (200, json!([image("", "base"), own("mine"), hidden()])),
        ("GET", ["images", "new" | "app%3A1"]) => {
            (404, json!({"error": "image \"new\" not found"}))
        }
        ("GET", ["images", name]) => (200, shared(name)),
        ("POST", ["images", "pull"]) => {
            let id = match body["ref"].as_str().unwrap() {
                "alpine:old" => {
                    let image = own("alpine:old");
                    return Some((200, json!({"status": "exists", "image": image})));
                }
                "bad" => FAILED,
                "endless" => ENDLESS,
                _ => DONE,
            };
            (202, json!({"task_id": id, "status": "running"}))
        }
        ("POST", ["images", _, "push"]) => (202, json!({"task_id": DONE, "status": "running"})),
        ("POST", ["images", "import"]) => {
            let name = query.strip_prefix("name=").unwrap_or_default();
            let name = name.split('&').next().unwrap_or_default();
            (201, own(&name.replace("%3A", ":")))
        }
        ("POST", ["images", "mine", "share"]) => (200, shared("mine")),
        ("POST", ["images", "mine", "unshare"]) => (200, own("mine")),
        ("POST", ["sandboxes", _, "save-image"]) => {
            let mut saved = own(body["name"].as_str().unwrap());
            saved["size_mb"] = 1024.into();
            (201, saved)
        }
        ("DELETE", ["images", name]) => (
            200,
            json!({"status": "deleted", "name": name, "templates_deleted": 1, "sandboxes": ["dev"]}),
        ),
        ("GET", ["tasks", DONE]) => (200, task(DONE, "completed")),
        ("GET", ["tasks", FAILED]) => {
            let mut task = task(FAILED, "failed");
            task["error"] = "there is no image docker.io/library/bad:latest".into();
            task["hint"] = "check the name and tag; a private image needs `--auth`".into();
            (200, task)
        }
        ("GET", ["tasks", ENDLESS]) => (200, task(ENDLESS, "running")),
        ("DELETE", ["tasks", ENDLESS]) => (200, task(ENDLESS, "cancelled")),
        ("POST", ["gc"]) => (
            200,
            json!({
                "dry_run": body["dry_run"], "bytes": 41_943_040,
                "items": [
                    {"kind": "layer", "name": "sha256:00ff", "bytes": 31_457_280},
                    {"kind": "template", "name": "tpl_0123456789abcdef", "bytes": 10_485_760},
                ],
            }),
        ),
        _ => return None,
    })
}

fn task(id: &str, status: &str) -> Value {
    let mut task = json!({
        "id": id, "kind": "image.pull", "subject": "alpine:3.20", "status": status,
        "progress": {
            "phase": "fetching", "done_bytes": 5, "total_bytes": 10,
            "parts": [
                {"name": "sha256:00ff", "done_bytes": 5, "total_bytes": 10, "complete": false},
            ],
        },
        "created_at": "2026-11-24T08:00:00.000Z",
    });
    if status == "completed" {
        let mut made = own("alpine:3.20");
        made["size_mb"] = 820.into();
        task["result"] = made;
        task["ended_at"] = "2026-11-24T08:01:00.000Z".into();
    }
    task
}

fn image(user: &str, name: &str) -> Value {
    json!({
        "id": "img_0123456789abcdef", "user_id": user, "name": name, "source": "recipe:base",
        "size_mb": 2048, "created_at": "2026-11-24T08:00:00.000Z",
    })
}

fn own(name: &str) -> Value {
    let mut image = image("usr_00000001", name);
    image["owner"] = "alice".into();
    image["scope"] = "own".into();
    image["source"] = "oci:docker.io/library/alpine:3.20@sha256:00ff".into();
    image["digest"] = "sha256:0123456789abcdef0123456789abcdef".into();
    image["disk_own_bytes"] = 8_388_608.into();
    image["disk_shared_bytes"] = 1_048_576.into();
    image
}

fn shared(name: &str) -> Value {
    let mut image = own(name);
    image["shared_with"] = json!(["bob", "carol"]);
    image["run_as"] = "1000:1000".into();
    image["workdir"] = "/srv".into();
    image["env"] = json!({"LANG": "C.UTF-8"});
    image
}

fn hidden() -> Value {
    let mut image = image("", "mine");
    image["scope"] = "host".into();
    image["hidden"] = true.into();
    image
}
