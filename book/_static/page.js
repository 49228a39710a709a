// What the theme and docutils leave out for screen readers and the keyboard.
document.addEventListener("DOMContentLoaded", () => {
  const sidebar = document.getElementById("pst-primary-sidebar");
  sidebar?.setAttribute("role", "region");
  sidebar?.setAttribute("aria-label", "Book");
  for (const entry of document.querySelectorAll('[role="doc-biblioentry"]')) {
    entry.setAttribute("role", "listitem");
  }
  document.querySelectorAll(".drawing").forEach(enlargeable);
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
