import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = fileURLToPath(new URL(".", import.meta.url));

// Each folder with an index.html is a page, served at "/" by its own demo.
const pages = readdirSync(here, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !["dist", "node_modules"].includes(entry.name))
  .map((entry) => `${here}${entry.name}/index.html`)
  .filter((path) => existsSync(path));

export default defineConfig({
  root: here,
  // The browser package as it is in this repository, and not as it was built last.
  resolve: { conditions: ["durable-source", "module", "browser", "development|production"] },
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1500,
    rollupOptions: { input: pages },
  },
});
