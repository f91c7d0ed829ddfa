//! What the document says of images and tasks.

use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::{Body, Description, Reply, made, ok};

fn of(summary: &'static str, body: Option<&'static str>, replies: Vec<Reply>) -> Description {
    Description {
        summary,
        body,
        replies,
    }
}

/// The answer of work that takes longer than its request.
fn started() -> Reply {
    Reply {
        status: "202",
        what: "begun",
        body: Body::One("TaskStarted"),
    }
}

pub(super) fn list() -> Description {
    of(
        "Images the caller sees: its own, those shared with it, the host's",
        None,
        vec![ok(Body::Many("Image"))],
    )
}

pub(super) fn pull() -> Description {
    of(
        "Pulls an image from a registry",
        Some("PullImage"),
        vec![
            started(),
            Reply {
                status: "200",
                what: "there, and the registry has no newer one",
                body: Body::One("TaskStarted"),
            },
        ],
    )
}

pub(super) fn import() -> Description {
    of(
        "Makes an image of a Docker archive, an OCI archive or a tar of a root file system",
        None,
        vec![made(Body::One("Image"))],
    )
}

pub(super) fn save() -> Description {
    of(
        "Makes an image of a sandbox's disk as it is now; the sandbox goes on",
        Some("SaveImage"),
        vec![made(Body::One("Image"))],
    )
}

pub(super) fn delete() -> Description {
    of(
        "Deletes an image and its templates; sandboxes made from it go on",
        None,
        vec![ok(Body::One("DeletedImage"))],
    )
}

pub(super) fn export() -> Description {
    of(
        "An image as an OCI archive",
        None,
        vec![Reply {
            status: "200",
            what: "success",
            body: Body::Tar,
        }],
    )
}

pub(super) fn push() -> Description {
    of(
        "Pushes an image to a registry",
        Some("PushImage"),
        vec![started()],
    )
}

pub(super) fn share() -> Description {
    of(
        "Lets other users see an image of the caller's",
        Some("ShareImage"),
        vec![ok(Body::One("Image"))],
    )
}

pub(super) fn unshare() -> Description {
    of(
        "Ends that other users see an image of the caller's",
        Some("ShareImage"),
        vec![ok(Body::One("Image"))],
    )
}

pub(super) fn task_list() -> Description {
    of(
        "The caller's tasks, the latest first",
        None,
        vec![ok(Body::Many("Task"))],
    )
}

pub(super) fn task_get() -> Description {
    of("One task", None, vec![ok(Body::One("Task"))])
}

pub(super) fn task_cancel() -> Description {
    of(
        "Has a task given up; what it had half made goes away",
        None,
        vec![ok(Body::One("Task"))],
    )
}

pub(super) fn gc() -> Description {
    of(
        "Deletes layers, templates and remains that nothing needs any more",
        Some("CollectGarbage"),
        vec![ok(Body::One("CollectedGarbage"))],
    )
}

/// What stands in the address of an import.
pub(super) fn import_parameters() -> Vec<Parameter> {
    let query = |name: &str, what: &str, kind, required| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .description(Some(what))
            .required(required)
            .schema(Some(ObjectBuilder::new().schema_type(kind)))
            .build()
    };
    vec![
        query("name", "name of the image", Type::String, Required::True),
        query(
            "docker",
            "its name where it was saved from, if that was a Docker or Podman",
            Type::String,
            Required::False,
        ),
        query(
            "host",
            "true: an image of the host's, for the administrator",
            Type::Boolean,
            Required::False,
        ),
    ]
}
