import { createTheme, type MantineColorsTuple } from '@mantine/core'

/** The water of a lock: a calm teal that reads on white and on near-black. */
const water = [
  '#e6f6f4',
  '#cfeae6',
  '#a3d6cf',
  '#72c0b6',
  '#49aca0',
  '#259b8e',
  '#0d8a7f',
  '#0a756c',
  '#08625a',
  '#054a44',
] as const satisfies MantineColorsTuple

/** Greys with a little blue, for dark surfaces. */
const dark = [
  '#d3d9e0',
  '#b3bcc7',
  '#8f9aa8',
  '#647081',
  '#3a4553',
  '#2a333f',
  '#1c242d',
  '#151b22',
  '#10151b',
  '#0b0f14',
] as const satisfies MantineColorsTuple

export const theme = createTheme({
  primaryColor: 'water',
  primaryShade: { light: 7, dark: 6 },
  colors: { water, dark },
  defaultRadius: 'md',
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif',
  fontFamilyMonospace: 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace',
  headings: { fontWeight: '650' },
  cursorType: 'pointer',
  respectReducedMotion: true,
})
