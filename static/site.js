// What HTML cannot do. The pages work without it.
document.documentElement.classList.add("has-script");

// A true `how` acts before others.
const on = (name, act, how) => document.addEventListener(name, act, how);
const find = (selector) => document.querySelector(selector);

// Times are shown in the zone that this names.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `tz=${zone}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Not a secure context (plain http): the old way.
    const field = document.createElement("textarea");
    Object.assign(field, { className: "visually-hidden", readOnly: true, value: text });
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

// The second click of a double click does nothing.
on("click", (event) => {
  if (event.detail > 1 && event.target.closest("button")) {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}, true);

// Nor does one before the answer; htmx's own forms disable their button.
on("submit", (event) => {
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
const notice = find("#notice");

function tell(what, words = notice.dataset) {
  notice.textContent = words[what] ?? words.error;
  notice.hidden = false;
}

on("htmx:sendError", () => tell("offline"));
on("htmx:timeout", () => tell("slow"));
on("htmx:responseError", ({ detail }) => tell(`status${detail.xhr.status}`));

// allauth's script would tell the console alone why a passkey cannot be used.
on("allauth.error", (event) => {
  event.preventDefault();
  const isPlace = event.detail.exception.name === "SecurityError" || !window.PublicKeyCredential;
  tell(isPlace ? "place" : "failed", find("#passkeys").dataset);
});

// What was typed survives a sign-in that comes between a form and its answer.
const KEPT = `typed:${location.pathname}`;
const SIGN_IN = "/accounts/";

// The one-click form begins anew after each alias.
on("htmx:afterRequest", ({ target, detail: { successful, xhr } }) => {
  if (successful && !xhr.getResponseHeader("HX-Redirect")) {
    notice.hidden = true;
    sessionStorage.removeItem(KEPT);
    if (target.matches(".quick")) {
      target.reset();
      document.querySelectorAll("main > .notice, .empty").forEach((old) => old.remove());
    }
  }
});

on("submit", ({ target: form }) => {
  const isTyped = form.querySelector("textarea, select, input:not([type=hidden])");
  const isSecret = location.pathname.startsWith(SIGN_IN) || form.querySelector("[type=password], [type=file]");
  if (form.method === "post" && isTyped && !isSecret) {
    const typed = [...new FormData(form)].filter(([name]) => name !== "csrfmiddlewaretoken");
    sessionStorage.setItem(KEPT, JSON.stringify([[...document.forms].indexOf(form), typed]));
  }
}, true);

const kept = sessionStorage.getItem(KEPT);
sessionStorage.removeItem(KEPT);
if (kept && new URL(document.referrer || location.href).pathname.startsWith(SIGN_IN)) {
  const [number, typed] = JSON.parse(kept);
  for (const field of document.forms[number]?.elements ?? []) {
    const values = typed.filter(([name]) => name === field.name).map(([, value]) => value);
    if (/checkbox|radio/.test(field.type)) {
      field.checked = values.includes(field.value);
    } else if (values.length && !/hidden|submit/.test(field.type)) {
      field.value = values[0];
    }
  }
  tell("typed");
}

// The next rows are fetched before the reader gets there, but not under the keyboard's focus.
function fetchAhead(links) {
  for (const { isIntersecting, target } of links) {
    if (isIntersecting && target !== document.activeElement) {
      ahead.unobserve(target);
      target.click();
    }
  }
}
const ahead = new IntersectionObserver(fetchAhead, { rootMargin: "800px" });

on("htmx:load", () => {
  mark(find("#rows"));
  document.querySelectorAll(".aliases__next > [hx-get]").forEach((link) => ahead.observe(link));
});

// After "Show more", the keyboard goes on at the first new row.
on("htmx:beforeSwap", ({ detail: { target: more } }) => {
  if (more.matches(".aliases__next") && more.contains(document.activeElement)) {
    const last = more.previousElementSibling;
    const go = () => last.nextElementSibling?.querySelector("a.address")?.focus();
    on("htmx:afterSwap", go, { once: true });
  }
});

// A menu closes when something is pressed, in it or elsewhere. Its row is drawn anew: the focus stays at the menu.
on("click", ({ target }) => {
  for (const menu of document.querySelectorAll(".menu[open]")) {
    if (menu.contains(target) && target.closest(".menu__list button")) {
      menu.querySelector("summary").focus();
    }
    menu.open = menu.contains(target) && !target.closest(".menu__list");
  }
}, true);

// A note is changed in its place: Enter saves it, and so does leaving the field; Escape does not.
on("click", (event) => {
  const button = event.target.closest("[data-note]");
  if (!button) {
    return;
  }
  event.preventDefault();
  const row = button.closest("li");
  const shown = row.querySelector(".alias__note");
  const field = document.createElement("input");
  const before = shown?.textContent ?? "";
  Object.assign(field, { className: "alias__note", value: before, ariaLabel: button.dataset.label });
  shown ? shown.replaceWith(field) : row.querySelector(".alias__facts").before(field);
  field.focus();
  const leave = () => end(true, true);
  const end = async (isSaved, isLeft) => {
    field.onblur = null;
    if (isSaved && field.value !== before) {
      const values = { note: field.value };
      field.readOnly = true;
      try {
        // Without a source, the notes of several rows would wait for each other, and htmx drop all but the last.
        await htmx.ajax("POST", button.dataset.note, { source: row, target: row, swap: "outerHTML", values });
      } catch {
        // It was told.
      }
      if (field.isConnected) {
        // It was not saved: what was typed stays, and can be saved again.
        field.readOnly = false;
        field.onblur = leave;
        return;
      }
    } else {
      field.replaceWith(...(shown ? [shown] : []));
    }
    if (!isLeft) {
      find(`#${row.id} :is(a.alias__note, summary)`).focus();
    }
  };
  field.onblur = leave;
  field.onkeydown = (event) => {
    // Not while the key is an input method's.
    if (/^(Enter|Escape)$/.test(event.key) && !event.isComposing) {
      event.preventDefault();
      end(event.key === "Enter", false);
    }
  };
});

// The first field with something wrong.
find("[aria-invalid=true]")?.focus();

// How many are selected. All includes those that are not shown.
on("change", ({ target }) => mark(target.closest("#rows")));

function mark(form) {
  const all = form?.elements.all;
  if (!all) {
    return;
  }
  const rows = [...form.querySelectorAll(".alias__select")];
  for (const row of rows) {
    if (row.disabled !== all.checked) {
      row.checked = row.disabled = all.checked;
    }
  }
  const count = rows.filter((row) => row.checked).length.toLocaleString(document.documentElement.lang);
  form.querySelector(".bulk__count").textContent = all.checked ? all.dataset.number : count;
}

// After two changes of one row at a time, the list says what it is.
on("htmx:beforeRequest", ({ detail: { target, xhr } }) => {
  target.running = (target.running ?? 0) + 1;
  target.isCrossed ||= target.running > 1 && target.matches(".alias");
  xhr.onloadend = () => {
    if (!--target.running && target.isCrossed) {
      htmx.ajax("GET", location.href, "#list");
    }
  };
});

// Enter in the search leads to the first alias that is found.
let isSearched;
on("htmx:afterSwap", ({ target }) => isSearched && target.id === "list" && find("#rows a.address")?.focus());

on("keydown", (event) => {
  const { key, target } = event;
  isSearched = key === "Enter" && target.id === "id_q";
  const menu = key === "Escape" && target.closest(".menu[open]");
  if (menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
  if (key === "Enter" && target.matches("#rows [type=checkbox]")) {
    // It would send the form.
    event.preventDefault();
  }
  const isTyped = target.matches("input:not([type=checkbox]), textarea, select");
  if (isTyped || event.ctrlKey || event.metaKey || event.altKey || !find("#keys")) {
    return;
  }
  // Each key presses what names it, in the page or else in the list of keys; two press what is in a row.
  const inRow = { c: ".copy", s: ".switch" }[key];
  const row = target.closest(".alias") ?? (key === "c" && find("main"));
  const named = inRow ? row && row.querySelector(inRow) : find(`[aria-keyshortcuts="${CSS.escape(key)}"]`);
  if (named) {
    event.preventDefault();
    named.matches("input") ? named.focus() : named.click();
  }
});

on("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button || !(await copy(button.dataset.copy))) {
    return;
  }
  button.focus();
  find("#live")?.replaceChildren(button.dataset.copied);
  const label = button.innerHTML;
  if (!label.endsWith("✓")) {
    button.textContent = `${button.dataset.copied} ✓`;
    setTimeout(() => (button.innerHTML = label), 1500);
  }
});
