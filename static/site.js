// What HTML cannot do: copying, the reader's time zone, and selecting a whole list. Everything else works without it.
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

// The one-click form begins anew after each alias, and says how many rows are selected.
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful && event.target.classList.contains("quick")) {
    event.target.reset();
  }
});

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
