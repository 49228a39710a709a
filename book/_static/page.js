// What the theme and docutils leave out for screen readers and the keyboard.
document.addEventListener("DOMContentLoaded", () => {
  const sidebar = document.getElementById("pst-primary-sidebar");
  sidebar?.setAttribute("role", "region");
  sidebar?.setAttribute("aria-label", "Book");
  for (const entry of document.querySelectorAll('[role="doc-biblioentry"]')) {
    entry.setAttribute("role", "listitem");
  }
  // Figures that scroll on a narrow screen can be reached with the keyboard.
  for (const image of document.querySelectorAll(".bd-content figure img")) {
    const figure = image.closest("figure");
    image.decode().finally(() => figure.scrollWidth > figure.clientWidth && (figure.tabIndex = 0));
  }
});

// Paper is white, also for someone who reads in dark mode.
let themeOnScreen;
window.addEventListener("beforeprint", () => {
  themeOnScreen = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
});
window.addEventListener("afterprint", () => {
  document.documentElement.dataset.theme = themeOnScreen;
});
