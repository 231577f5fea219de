// Plain JavaScript that any Node since 12 can read, imported before everything else: what comes after it needs
// Node 24 (TypeScript without a build, node:sqlite, and no leak of async storage per socket).
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 24 || (major === 24 && minor < 15)) {
  // oxlint-disable-next-line no-console -- before anything else is loaded there is nothing else to speak with
  console.error(
    `Eclusa needs Node 24.15 or newer and this is ${process.versions.node}: run it with "npm start" or "npm run eclusa", which bring their own.`,
  )
  process.exit(1)
}
