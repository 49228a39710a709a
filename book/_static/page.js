// What the theme and docutils leave out for screen readers and the keyboard.
document.addEventListener("DOMContentLoaded", () => {
  const sidebar = document.getElementById("pst-primary-sidebar");
  sidebar?.setAttribute("role", "region");
  sidebar?.setAttribute("aria-label", "Book");
  for (const entry of document.querySelectorAll('[role="doc-biblioentry"]')) {
    entry.setAttribute("role", "listitem");
  }
  document.querySelectorAll(".drawing").forEach(enlargeable);
  if (document.querySelectorAll(".bd-article td").length > 400) filter();
});

// A figure gets a button that shows it as large as the window; Escape or the button closes it.
function enlargeable(drawing) {
  const svg = drawing.querySelector("svg");
  const open = button("Enlarge the figure", "\u2922");
  drawing.append(open);
  open.addEventListener("click", () => {
    const dialog = document.createElement("dialog");
    const close = button("Close", "\u2715");
    dialog.className = "enlarged";
    dialog.setAttribute("aria-label", svg.getAttribute("aria-label"));
    dialog.append(close, svg);
    document.body.append(dialog);
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      drawing.prepend(svg);
      dialog.remove();
      open.focus();
    });
    dialog.showModal();
  });
  svg.addEventListener("dblclick", () => open.click());
}

// A field that leaves only the rows with all of its words, for pages with very many rows.
function filter() {
  const rows = [...document.querySelectorAll(".bd-article tbody tr")];
  const box = document.createElement("p");
  const field = document.createElement("input");
  const said = document.createElement("span");
  box.className = "filter";
  field.type = "search";
  field.placeholder = "Show only rows with these words";
  field.setAttribute("aria-label", field.placeholder);
  said.setAttribute("role", "status");
  box.append(field, " ", said);
  document.querySelector(".bd-article h1").after(box);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    const fits = (row) => words.every((word) => row.textContent.toLowerCase().includes(word));
    for (const row of rows) row.hidden = !fits(row);
    said.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  });
}

function button(label, sign) {
  const made = document.createElement("button");
  made.type = "button";
  made.title = label;
  made.setAttribute("aria-label", label);
  made.textContent = sign;
  return made;
}

// Paper is white, also for someone who reads in dark mode.
let themeOnScreen;
window.addEventListener("beforeprint", () => {
  themeOnScreen = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
});
window.addEventListener("afterprint", () => {
  document.documentElement.dataset.theme = themeOnScreen;
});
