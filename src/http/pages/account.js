// Reads the token from the URL's fragment, calls the API, and shows which of the page's own sentences holds.
"use strict";

(() => {
  const form = document.querySelector("form");
  const field = (name) => form.elements.namedItem(name);
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  // What an opened link was exchanged for; it outlives a password that did not fit.
  let key = null;

  const show = (id, text) => {
    for (const sentence of document.querySelectorAll("[data-says]")) {
      sentence.hidden = sentence.id !== id;
    }
    const shown = document.getElementById(id);
    const detail = shown && shown.querySelector("[data-detail]");
    if (detail) detail.textContent = text || "";
  };

  const done = (id, text) => {
    form.hidden = true;
    for (const part of document.querySelectorAll("[data-before]")) part.hidden = true;
    show(id, text);
    document.querySelector("[role=status]").focus();
  };

  const call = async (path, body) => {
    const answer = await fetch("../api/v1/" + path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
    const text = await answer.text();
    const told = text ? JSON.parse(text) : {};
    if (!answer.ok) throw Object.assign(new Error(told.code || "failed"), { told });
    return told;
  };

  // A token that was used is of no use to whoever looks at the history.
  const forget = () => history.replaceState(null, "", location.pathname + location.search);

  const acts = {
    async confirm() {
      const told = await call("signups/confirm", { token });
      forget();
      done(told.is_approval_pending ? "pending" : "done", told.username);
    },
    async "set-password"() {
      const password = field("password").value;
      if (password !== field("again").value) {
        field("again").focus();
        return show("differs");
      }
      if (!key) {
        const opened = await call("password-resets/open", { token });
        forget();
        key = opened.reset_key;
        document.getElementById("totp").hidden = !opened.is_totp_required;
        field("code").required = opened.is_totp_required;
        if (opened.is_totp_required) {
          field("code").focus();
          return show("totp_required");
        }
      }
      const body = { reset_key: key, new_password: password };
      if (field("code").required) body.totp_code = field("code").value.trim();
      await call("password-resets/finish", body);
      field("password").value = field("again").value = "";
      done("done");
    },
    async "forgot-password"() {
      const name = field("name").value.trim();
      await call("password-resets", name.includes("@") ? { email: name } : { username: name });
      done("done");
    },
  };

  const needsToken = form.dataset.act !== "forgot-password";
  if (needsToken && !token) {
    done("link_invalid");
    return;
  }
  const reveal = field("reveal");
  if (reveal) {
    reveal.addEventListener("change", () => {
      for (const name of ["password", "again"]) field(name).type = reveal.checked ? "text" : "password";
    });
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    show(null);
    try {
      await acts[form.dataset.act]();
    } catch (error) {
      const code = error.told ? error.message : "unreachable";
      if (code === "link_invalid") done("link_invalid");
      else show(document.getElementById(code) ? code : "failed");
      if (code === "password_unfit") {
        const causes = error.told.errors.map((e) => e.code);
        for (const cause of document.querySelectorAll("#password_unfit [data-cause]")) {
          cause.hidden = !causes.includes(cause.dataset.cause);
        }
        field("password").focus();
      }
    } finally {
      button.disabled = false;
    }
  });
})();
