// Makes a component of ../plugin.js with nothing of the outside in it: no clock, chance, network or standard streams.
import { readFile, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

// Without the outside these would be frozen silently at what they were when the plugin was built.
const frozen = `
Date.now = () => { throw new Error("plugins have no clock: take context.now"); };
Math.random = () => { throw new Error("plugins have no chance"); };
`;

const source = (await readFile("plugin.js", "utf8")) + frozen;
const { component } = await componentize(source, {
  witPath: "muster/wit/v1",
  worldName: "pricing",
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile("my-plugin.core.wasm", component);
