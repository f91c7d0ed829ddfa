//! The OpenAPI document, made from [`ROUTES`] and the types of the bodies.

use utoipa::OpenApi;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, ContentBuilder, InfoBuilder, Ref, RefOr, Required, Schema};

use crate::image::TAR;
use crate::routes::{Auth, EXISTING_HEADER, Method, NDJSON, Operation, ROUTES, Route};
use crate::{
    error, exec, host, idle, image, run, sandbox, shell, snapshot, task, template, tree, user,
    volume,
};

mod images;

/// Generation of the contract, told by `GET /version`.
pub const API_VERSION: &str = "1";
/// Name of the security scheme in the document.
const TOKEN_SCHEME: &str = "token";

/// Collects the schemas of the bodies.
#[derive(OpenApi)]
#[openapi(components(schemas(
    error::ErrorBody,
    exec::ExecDetached,
    exec::ExecEvent,
    exec::ExecRequest,
    exec::ExecResult,
    host::Health,
    host::Version,
    idle::Awake,
    idle::EditSandbox,
    idle::EditUser,
    idle::Idle,
    idle::Lease,
    idle::SleepAll,
    idle::SleptAll,
    image::CollectGarbage,
    image::CollectedGarbage,
    image::DeletedImage,
    image::GarbageItem,
    image::GivenAuth,
    image::Image,
    image::PullImage,
    image::PushImage,
    image::RegistryAuth,
    image::SaveImage,
    image::ShareImage,
    image::TaskStarted,
    run::CreateRun,
    run::Run,
    run::RunState,
    sandbox::CreateSandbox,
    sandbox::ForkSandbox,
    sandbox::RollbackSandbox,
    sandbox::RolledBack,
    sandbox::Sandbox,
    sandbox::SandboxLine,
    sandbox::StartSandbox,
    sandbox::StatusBody,
    shell::Session,
    snapshot::CreateSnapshot,
    snapshot::ResumeSnapshot,
    snapshot::Snapshot,
    task::Task,
    task::TaskPart,
    task::TaskProgress,
    tree::TreeNode,
    template::Template,
    template::WarmImage,
    user::CreateUser,
    user::CreatedUser,
    user::RotatedKey,
    user::User,
    volume::AttachVolume,
    volume::AttachedVolume,
    volume::BackUpVolume,
    volume::CloneVolume,
    volume::CreateVolume,
    volume::DetachVolume,
    volume::PersistentVolume,
    volume::ResizeVolume,
    volume::RestoreVolume,
    volume::Volume,
    volume::VolumeAttachment,
    volume::VolumeBackup,
)))]
struct Schemas;

/// What the document says of one operation.
struct Description {
    summary: &'static str,
    body: Option<&'static str>,
    replies: Vec<Reply>,
}

/// One answer of an operation that is a success.
struct Reply {
    status: &'static str,
    what: &'static str,
    body: Body,
}

/// The body of an answer.
enum Body {
    None,
    One(&'static str),
    Many(&'static str),
    /// Several, each of the first kind or each of the second.
    ManyOf(&'static str, &'static str),
    /// A tar.
    Tar,
    /// Bytes.
    Bytes,
    /// One of two as JSON, or lines of the third.
    Exec(&'static str, &'static str, &'static str),
}

fn ok(body: Body) -> Reply {
    Reply {
        status: "200",
        what: "success",
        body,
    }
}

fn made(body: Body) -> Reply {
    Reply {
        status: "201",
        what: "made",
        body,
    }
}

fn describe(operation: Operation) -> Description {
    let of = |summary, body, replies| Description {
        summary,
        body,
        replies,
    };
    match operation {
        Operation::Health => of(
            "Whether the daemon is up",
            None,
            vec![ok(Body::One("Health"))],
        ),
        Operation::Version => of("What the daemon is", None, vec![ok(Body::One("Version"))]),
        Operation::SandboxList => of(
            "The caller's sandboxes",
            None,
            vec![ok(Body::ManyOf("Sandbox", "SandboxLine"))],
        ),
        Operation::SandboxCreate => of(
            "Makes a sandbox, or gives the one that has the name",
            Some("CreateSandbox"),
            vec![
                made(Body::One("Sandbox")),
                Reply {
                    status: "200",
                    what: "there already; has the header X-Bhatti-Existing",
                    body: Body::One("Sandbox"),
                },
            ],
        ),
        Operation::SandboxGet => of(
            "One sandbox, by id or name",
            None,
            vec![ok(Body::One("Sandbox"))],
        ),
        Operation::SandboxEdit => of(
            "Changes what is set for a sandbox",
            Some("EditSandbox"),
            vec![ok(Body::One("Sandbox"))],
        ),
        Operation::SandboxPause => of(
            "Pauses a sandbox's vCPUs; the next request lets them go on",
            None,
            vec![ok(Body::One("Sandbox"))],
        ),
        Operation::UserEdit => of(
            "Changes what a user's sandboxes do when idle",
            Some("EditUser"),
            vec![ok(Body::One("User"))],
        ),
        Operation::SleepAll => of(
            "Puts all machines to disk, before the host goes down",
            Some("SleepAll"),
            vec![ok(Body::One("SleptAll"))],
        ),
        Operation::SandboxDestroy => of(
            "Takes a sandbox away",
            None,
            vec![ok(Body::One("StatusBody"))],
        ),
        Operation::SandboxStop => of(
            "Puts a sandbox to disk, memory and all",
            None,
            vec![ok(Body::One("Sandbox"))],
        ),
        Operation::SandboxStart => of(
            "Wakes a sandbox",
            Some("StartSandbox"),
            vec![ok(Body::One("Sandbox"))],
        ),
        Operation::SandboxExec => of(
            "Runs a command",
            Some("ExecRequest"),
            vec![ok(Body::Exec("ExecResult", "ExecDetached", "ExecEvent"))],
        ),
        Operation::SandboxExecWs => of(
            "Runs a command over a WebSocket, with the subprotocol bhatti.exec.v1",
            None,
            vec![Reply {
                status: "101",
                what: "upgraded",
                body: Body::None,
            }],
        ),
        Operation::SandboxLogs => of(
            "What the program wrote that a sandbox keeps running",
            None,
            vec![ok(Body::Bytes)],
        ),
        Operation::SandboxShell => of(
            "Attaches to a terminal over a WebSocket",
            None,
            vec![Reply {
                status: "101",
                what: "upgraded",
                body: Body::None,
            }],
        ),
        Operation::SandboxSessions => of(
            "The terminals of a sandbox",
            None,
            vec![ok(Body::Many("Session"))],
        ),
        Operation::SandboxCheckpoint => of(
            "Takes a checkpoint of a running sandbox, which goes on",
            Some("CreateSnapshot"),
            vec![made(Body::One("Snapshot"))],
        ),
        Operation::SandboxFork => of(
            "Makes copies of a sandbox that go on from this instant of it, or none",
            Some("ForkSandbox"),
            vec![made(Body::Many("Sandbox"))],
        ),
        Operation::SandboxRollback => of(
            "Puts a sandbox back to one of its checkpoints; what it is now is kept as another",
            Some("RollbackSandbox"),
            vec![ok(Body::One("RolledBack"))],
        ),
        Operation::SnapshotList => of(
            "The caller's checkpoints",
            None,
            vec![ok(Body::Many("Snapshot"))],
        ),
        Operation::SnapshotGet => of("One checkpoint", None, vec![ok(Body::One("Snapshot"))]),
        Operation::SnapshotDelete => of(
            "Deletes a checkpoint",
            None,
            vec![ok(Body::One("StatusBody"))],
        ),
        Operation::SnapshotResume => of(
            "Makes a sandbox that goes on from a checkpoint",
            Some("ResumeSnapshot"),
            vec![made(Body::One("Sandbox"))],
        ),
        Operation::VolumeList => of("The caller's volumes", None, vec![ok(Body::Many("Volume"))]),
        Operation::VolumeCreate => of(
            "Makes an empty volume",
            Some("CreateVolume"),
            vec![made(Body::One("Volume"))],
        ),
        Operation::VolumeGet => of("One volume", None, vec![ok(Body::One("Volume"))]),
        Operation::VolumeDelete => of(
            "Deletes a volume that no sandbox has",
            None,
            vec![ok(Body::One("StatusBody"))],
        ),
        Operation::VolumeResize => of(
            "Makes a volume larger",
            Some("ResizeVolume"),
            vec![ok(Body::One("Volume"))],
        ),
        Operation::VolumeClone => of(
            "Makes a volume that holds what this one holds now",
            Some("CloneVolume"),
            vec![made(Body::One("Volume"))],
        ),
        Operation::VolumeAttach => of(
            "Gives a sandbox the volume, at once if it runs",
            Some("AttachVolume"),
            vec![ok(Body::One("Sandbox"))],
        ),
        Operation::VolumeDetach => of(
            "Takes the volume from a sandbox",
            Some("DetachVolume"),
            vec![ok(Body::One("Sandbox"))],
        ),
        Operation::BackupList => of(
            "The backups of a volume, also of one that is gone; `to` says where to look",
            None,
            vec![ok(Body::Many("VolumeBackup"))],
        ),
        Operation::BackupCreate => of(
            "Backs the volume up as it is at one moment",
            Some("BackUpVolume"),
            vec![made(Body::One("VolumeBackup"))],
        ),
        Operation::BackupRestore => of(
            "Puts a volume that no sandbox has back to what it was",
            Some("RestoreVolume"),
            vec![ok(Body::One("Volume"))],
        ),
        Operation::BackupDelete => of(
            "Deletes a backup, and what no other needs",
            None,
            vec![ok(Body::One("StatusBody"))],
        ),
        Operation::Tree => of(
            "The caller's sandboxes and checkpoints, each before what descends from it",
            None,
            vec![ok(Body::Many("TreeNode"))],
        ),
        Operation::SandboxSaveImage => images::save(),
        Operation::ImageList => images::list(),
        Operation::ImagePull => images::pull(),
        Operation::ImageImport => images::import(),
        Operation::ImageDelete => images::delete(),
        Operation::ImageExport => images::export(),
        Operation::ImagePush => images::push(),
        Operation::ImageShare => images::share(),
        Operation::ImageUnshare => images::unshare(),
        Operation::TaskList => images::task_list(),
        Operation::TaskGet => images::task_get(),
        Operation::TaskCancel => images::task_cancel(),
        Operation::CollectGarbage => images::gc(),
        Operation::ImageGet => of("One image", None, vec![ok(Body::One("Image"))]),
        Operation::ImageWarm => of(
            "Makes the template of a size of machine, ahead of the first create",
            Some("WarmImage"),
            vec![ok(Body::One("Template"))],
        ),
        Operation::TemplateList => of(
            "Templates of images the caller may use, the one of the latest use first",
            None,
            vec![ok(Body::Many("Template"))],
        ),
        Operation::TemplateDelete => of(
            "Deletes a template; machines made from it go on",
            None,
            vec![ok(Body::One("StatusBody"))],
        ),
        Operation::UserList => of("All users", None, vec![ok(Body::Many("User"))]),
        Operation::UserCreate => of(
            "Makes a user; the answer holds its token",
            Some("CreateUser"),
            vec![made(Body::One("CreatedUser"))],
        ),
        Operation::UserGet => of("One user", None, vec![ok(Body::One("User"))]),
        Operation::UserDelete => of(
            "Deletes a user that has nothing left",
            None,
            vec![ok(Body::One("StatusBody"))],
        ),
        Operation::UserRotateKey => of(
            "Gives a user a new token; the old one is void at once",
            None,
            vec![ok(Body::One("RotatedKey"))],
        ),
    }
}

/// Makes the document.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Schemas::openapi();
    document.info = InfoBuilder::new()
        .title("bhatti")
        .version(API_VERSION)
        .description(Some(
            "Real virtual machines on demand, on one's own machine.",
        ))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(
        TOKEN_SCHEME,
        SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
    );
    let paths = ROUTES.iter().fold(PathsBuilder::new(), |paths, route| {
        paths.path(route.path, path_item(route))
    });
    document.paths = paths.build();
    document
}

fn path_item(route: &Route) -> PathItem {
    let description = describe(route.operation);
    let mut operation = OperationBuilder::new()
        .operation_id(Some(format!("{:?}", route.operation)))
        .summary(Some(description.summary))
        .parameters(Some(parameters(route)));
    if let Some(schema) = description.body {
        let body = RequestBodyBuilder::new()
            .content("application/json", content(reference(schema)))
            .required(Some(if body_may_be_missing(route.operation) {
                Required::False
            } else {
                Required::True
            }))
            .build();
        operation = operation.request_body(Some(body));
    }
    if route.operation == Operation::ImageImport {
        let archive = RequestBodyBuilder::new().content(TAR, bytes());
        operation = operation.request_body(Some(archive.required(Some(Required::True)).build()));
    }
    for reply in &description.replies {
        operation = operation.response(reply.status, success(reply));
    }
    operation = operation.response(
        "default",
        ResponseBuilder::new()
            .description("not a success")
            .content("application/json", content(reference("ErrorBody")))
            .build(),
    );
    operation = match route.auth {
        Auth::Nobody => operation,
        Auth::User | Auth::Admin => {
            operation.security(SecurityRequirement::new(TOKEN_SCHEME, Vec::<String>::new()))
        }
    };
    let method = match route.method {
        Method::Get => HttpMethod::Get,
        Method::Post => HttpMethod::Post,
        Method::Patch => HttpMethod::Patch,
        Method::Delete => HttpMethod::Delete,
    };
    PathItem::new(method, operation)
}

/// Whether all fields of the body may be left out, and so the whole body.
fn body_may_be_missing(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::SandboxCreate
            | Operation::SandboxStart
            | Operation::SandboxFork
            | Operation::SnapshotResume
            | Operation::ImageWarm
            | Operation::BackupCreate
            | Operation::SleepAll
            | Operation::CollectGarbage
    )
}

fn parameters(route: &Route) -> Vec<Parameter> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let mut parameters: Vec<_> = ["id", "name"]
        .into_iter()
        .filter(|name| route.path.contains(&format!("{{{name}}}")))
        .map(|name| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(text()))
                .build()
        })
        .collect();
    if route.operation == Operation::SandboxList {
        parameters.push(
            ParameterBuilder::new()
                .name("fields")
                .parameter_in(ParameterIn::Query)
                .description(Some("line: name, status, thermal and urls only"))
                .required(Required::False)
                .schema(Some(text().enum_values(Some(["line"]))))
                .build(),
        );
        parameters.push(
            ParameterBuilder::new()
                .name("label")
                .parameter_in(ParameterIn::Query)
                .description(Some("key=value; may be repeated, all must match"))
                .required(Required::False)
                .schema(Some(ArrayBuilder::new().items(text())))
                .build(),
        );
    }
    if route.operation == Operation::Tree {
        parameters.push(
            ParameterBuilder::new()
                .name("sandbox")
                .parameter_in(ParameterIn::Query)
                .description(Some("only this one, by id or name, and its descendants"))
                .required(Required::False)
                .schema(Some(text()))
                .build(),
        );
    }
    if route.operation == Operation::ImageImport {
        parameters.extend(images::import_parameters());
    }
    if route.operation == Operation::SandboxLogs {
        let optional = |name: &str, what: &str, kind| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .description(Some(what))
                .required(Required::False)
                .schema(Some(ObjectBuilder::new().schema_type(kind)))
                .build()
        };
        parameters.push(optional("tail", "only so many lines", Type::Integer));
        parameters.push(optional("follow", "true: also what comes", Type::Boolean));
    }
    if matches!(
        route.operation,
        Operation::SandboxList | Operation::SandboxGet
    ) {
        parameters.push(
            ParameterBuilder::new()
                .name("usage")
                .parameter_in(ParameterIn::Query)
                .description(Some(
                    "true: look up disk_own_bytes and disk_shared_bytes too",
                ))
                .required(Required::False)
                .schema(Some(ObjectBuilder::new().schema_type(Type::Boolean)))
                .build(),
        );
    }
    parameters
}

fn success(reply: &Reply) -> Response {
    let mut response = ResponseBuilder::new().description(reply.what);
    response = match &reply.body {
        Body::None => response,
        Body::Bytes => {
            let bytes = ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
            let bytes = ContentBuilder::new().schema(Some(bytes)).build();
            response.content("application/octet-stream", bytes)
        }
        Body::One(schema) => response.content("application/json", content(reference(schema))),
        Body::Many(schema) => response.content(
            "application/json",
            content(ArrayBuilder::new().items(reference(schema)).into()),
        ),
        Body::ManyOf(one, other) => {
            let many = |schema| ArrayBuilder::new().items(reference(schema));
            let either = utoipa::openapi::schema::OneOfBuilder::new()
                .item(many(one))
                .item(many(other));
            response.content("application/json", content(either.into()))
        }
        Body::Tar => response.content(TAR, bytes()),
        Body::Exec(result, detached, line) => {
            let either = utoipa::openapi::schema::OneOfBuilder::new()
                .item(reference(result))
                .item(reference(detached));
            response
                .content("application/json", content(either.into()))
                .content(NDJSON, content(reference(line)))
        }
    };
    if reply.status == "200" && reply.what.contains("already") {
        let header = utoipa::openapi::header::HeaderBuilder::new()
            .schema(ObjectBuilder::new().schema_type(Type::String))
            .build();
        response = response.header(EXISTING_HEADER, header);
    }
    response.build()
}

/// Bytes as they are.
fn bytes() -> Content {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
    content(schema.into())
}

fn reference(schema: &str) -> RefOr<Schema> {
    Ref::from_schema_name(schema).into()
}

fn content(schema: RefOr<Schema>) -> Content {
    ContentBuilder::new().schema(Some(schema)).build()
}
