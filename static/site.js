// What HTML cannot do: copying, the reader's time zone, and being honest about requests. The pages work without it.
"use strict";

document.documentElement.classList.add("has-script");

// Times are shown in the zone that this names.
try {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !document.cookie.split("; ").includes(`tz=${zone}`)) {
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `tz=${zone}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
  }
} catch (error) {
  // A browser without time zones shows the server's.
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (error) {
    // Not a secure context (plain http): the old way, with a field that is selected.
    const field = document.createElement("textarea");
    field.value = text;
    field.setAttribute("readonly", "");
    field.className = "visually-hidden";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

// The second click of a double click does nothing.
document.addEventListener(
  "click",
  (event) => {
    if (event.detail > 1 && event.target.closest("button")) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
  },
  true,
);

// Nor does a second click while the first one is waiting for its answer; htmx's own forms disable their button.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post" || form.hasAttribute("hx-post")) {
    return;
  }
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  event.submitter?.setAttribute("aria-busy", "true");
});

// Back from the next page, a form may be sent again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.querySelector("[aria-busy]")?.removeAttribute("aria-busy");
  }
});

// A request that fails says so.
const notice = document.getElementById("notice");

function tell(what, words = notice.dataset) {
  notice.textContent = words[what] ?? words.error;
  notice.hidden = false;
}

document.addEventListener("htmx:sendError", () => tell("offline"));
document.addEventListener("htmx:timeout", () => tell("slow"));
document.addEventListener("htmx:responseError", (event) => tell(`status${event.detail.xhr.status}`));

// allauth's script would tell the console alone why a passkey cannot be used.
document.addEventListener("allauth.error", (event) => {
  event.preventDefault();
  const { name } = event.detail.exception;
  const isPlace = name === "SecurityError" || !window.PublicKeyCredential;
  tell(isPlace ? "place" : "failed", document.getElementById("passkeys").dataset);
});

// What was typed survives a sign-in that comes between a form and its answer.
const KEPT = `typed:${location.pathname}`;
const SIGN_IN = "/accounts/";

// The one-click form begins anew after each alias.
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful && !event.detail.xhr.getResponseHeader("HX-Redirect")) {
    notice.hidden = true;
    sessionStorage.removeItem(KEPT);
    if (event.target.classList.contains("quick")) {
      event.target.reset();
      document.querySelectorAll("main > .notice, .empty").forEach((old) => old.remove());
    }
  }
});

document.addEventListener(
  "submit",
  (event) => {
    const form = event.target;
    const isTyped = form.querySelector("textarea, select, input:not([type=hidden])");
    const isSecret = location.pathname.startsWith(SIGN_IN) || form.querySelector("[type=password], [type=file]");
    if (form.method === "post" && isTyped && !isSecret) {
      const typed = [...new FormData(form)].filter(([name]) => name !== "csrfmiddlewaretoken");
      sessionStorage.setItem(KEPT, JSON.stringify([[...document.forms].indexOf(form), typed]));
    }
  },
  true,
);

const kept = sessionStorage.getItem(KEPT);
sessionStorage.removeItem(KEPT);
if (kept && new URL(document.referrer || location.href).pathname.startsWith(SIGN_IN)) {
  const [number, typed] = JSON.parse(kept);
  for (const field of document.forms[number]?.elements ?? []) {
    const values = typed.filter(([name]) => name === field.name).map(([, value]) => value);
    if (["checkbox", "radio"].includes(field.type)) {
      field.checked = values.includes(field.value);
    } else if (values.length && field.type !== "hidden" && field.type !== "submit") {
      field.value = values[0];
    }
  }
  tell("typed");
}

// The next rows are fetched before the reader reaches the link to them, but not under the keyboard's focus.
const ahead = new IntersectionObserver(
  (links) => {
    for (const { isIntersecting, target } of links) {
      if (isIntersecting && target !== document.activeElement) {
        ahead.unobserve(target);
        target.click();
      }
    }
  },
  { rootMargin: "0px 0px 800px" },
);

document.addEventListener("htmx:load", () => {
  for (const link of document.querySelectorAll(".aliases__next > [hx-get]")) {
    ahead.observe(link);
  }
});

// After "Show more", the keyboard goes on at the first new row.
document.addEventListener("htmx:beforeSwap", (event) => {
  const more = event.detail.target;
  if (more.classList.contains("aliases__next") && more.contains(document.activeElement)) {
    const last = more.previousElementSibling;
    const go = () => last.nextElementSibling?.querySelector("a.address")?.focus();
    document.addEventListener("htmx:afterSwap", go, { once: true });
  }
});

// Enter in a row's checkbox would send the form.
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.classList.contains("alias__select")) {
    event.preventDefault();
  }
});

// A menu closes when something in it is pressed, at Escape, and when another place is. Its row is drawn anew: the
// focus stays at the menu.
document.addEventListener(
  "click",
  (event) => {
    for (const menu of document.querySelectorAll(".menu[open]")) {
      if (event.target.closest(".menu__list button") && menu.contains(event.target)) {
        menu.querySelector("summary").focus();
      }
      menu.open = menu.contains(event.target) && !event.target.closest(".menu__list");
    }
  },
  true,
);
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && event.target.closest(".menu[open]");
  if (menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// A note is changed in its place: Enter saves it, and so does leaving the field; Escape does not.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-note]");
  if (!button) {
    return;
  }
  const row = button.closest("li");
  const shown = row.querySelector(".alias__note");
  const field = document.createElement("input");
  const before = shown?.textContent ?? "";
  Object.assign(field, { className: "alias__note", value: before, ariaLabel: button.dataset.label });
  if (shown) {
    shown.replaceWith(field);
  } else {
    row.querySelector(".alias__facts").before(field);
  }
  field.focus();
  const leave = () => end(true, true);
  const end = async (isSaved, isLeft) => {
    field.onblur = null;
    if (isSaved && field.value !== before) {
      const values = { note: field.value };
      field.readOnly = true;
      try {
        // Without a source, htmx would let the notes of several rows wait for each other, and drop all but the last.
        await htmx.ajax("POST", button.dataset.note, { source: row, target: row, swap: "outerHTML", values });
      } catch (error) {
        // It was told.
      }
      if (field.isConnected) {
        // It was not saved. What was typed is still in the field, and can be saved again.
        field.readOnly = false;
        field.onblur = leave;
        return;
      }
    } else if (shown) {
      field.replaceWith(shown);
    } else {
      field.remove();
    }
    if (!isLeft) {
      document.querySelector(`#${row.id} :is(button.alias__note, summary)`).focus();
    }
  };
  field.onblur = leave;
  field.onkeydown = (event) => {
    // Neither key is for us while it belongs to an input method.
    if ((event.key === "Enter" || event.key === "Escape") && !event.isComposing) {
      event.preventDefault();
      end(event.key === "Enter", false);
    }
  };
});

// The first field with something wrong.
document.querySelector("[aria-invalid=true]")?.focus();

// How many rows are selected.
document.addEventListener("change", (event) => {
  const form = event.target.closest("#rows");
  const count = form?.querySelector(".bulk__count");
  if (count) {
    count.textContent = form.querySelectorAll(".alias__select:checked").length;
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) {
    return;
  }
  if (!(await copy(button.dataset.copy))) {
    return;
  }
  button.focus();
  const live = document.getElementById("live");
  if (live) {
    live.textContent = button.dataset.copied;
  }
  if (!button.dataset.label) {
    button.dataset.label = button.innerHTML;
    button.textContent = `${button.dataset.copied} ✓`;
    setTimeout(() => {
      button.innerHTML = button.dataset.label;
      delete button.dataset.label;
    }, 1500);
  }
});
