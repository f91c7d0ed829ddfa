//! Calls about users, for the administrator of the host.

use bhatti_api::idle::EditUser;
use bhatti_api::sandbox::StatusBody;
use bhatti_api::user::{CreateUser, CreatedUser, RotatedKey, User};

use crate::client::{Call, Client, segment};
use crate::error::Error;

impl Client {
    /// Makes a user; the answer holds its token.
    pub async fn user_create(&self, new: &CreateUser) -> Result<CreatedUser, Error> {
        self.fetch(Call::post("/users", "POST /users", new)).await
    }

    /// All users.
    pub async fn user_list(&self) -> Result<Vec<User>, Error> {
        self.fetch(Call::get("/users", "GET /users")).await
    }

    /// One user.
    pub async fn user_get(&self, name: &str) -> Result<User, Error> {
        let path = format!("/users/{}", segment(name));
        self.fetch(Call::get(path, "GET /users/{name}")).await
    }

    /// Changes what a user's sandboxes do when idle.
    pub async fn user_edit(&self, name: &str, edit: &EditUser) -> Result<User, Error> {
        let path = format!("/users/{}", segment(name));
        self.fetch(Call::patch(path, "PATCH /users/{name}", edit))
            .await
    }

    /// Deletes a user that has nothing left.
    pub async fn user_delete(&self, name: &str) -> Result<StatusBody, Error> {
        let path = format!("/users/{}", segment(name));
        self.fetch(Call::delete(path, "DELETE /users/{name}")).await
    }

    /// Gives a user a new token; the old one is void at once.
    pub async fn user_rotate_key(&self, name: &str) -> Result<RotatedKey, Error> {
        let path = format!("/users/{}/rotate-key", segment(name));
        self.fetch(Call {
            body: None,
            ..Call::post(path, "POST /users/{name}/rotate-key", &())
        })
        .await
    }
}
