import { createTheme, type CSSVariablesResolver } from '@mantine/core'

export const theme = createTheme({
  // From the lightest text to the darkest ground, bluish like the icon.
  colors: {
    dark: ['#d5dce7', '#b3bdcb', '#9aa6b8', '#67748a', '#364152', '#28313e', '#1d242f', '#151a22', '#11151c', '#0f131a'],
    // The kit's, but for the shade of buttons on light grounds, on which white can be read: a ratio of 5.3, not 3.9.
    red: ['#fff5f5', '#ffe3e3', '#ffc9c9', '#ffa8a8', '#ff8787', '#ff6b6b', '#fa5252', '#c92a2a', '#e03131', '#c92a2a'],
  },
  primaryColor: 'indigo',
  primaryShade: { light: 7, dark: 8 },
  fontFamily: 'system-ui, -apple-system, "Segoe UI", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, monospace',
  defaultRadius: 'md',
  autoContrast: true,
  cursorType: 'pointer',
  components: {
    Button: { defaultProps: { size: 'xs' } },
    TextInput: { defaultProps: { size: 'xs' } },
    NumberInput: { defaultProps: { size: 'xs' } },
    Textarea: { defaultProps: { size: 'xs' } },
    Radio: { defaultProps: { size: 'xs' } },
    Select: { defaultProps: { size: 'xs' } },
    NativeSelect: { defaultProps: { size: 'xs' } },
    MultiSelect: { defaultProps: { size: 'xs' } },
    TagsInput: { defaultProps: { size: 'xs' } },
    Autocomplete: { defaultProps: { size: 'xs' } },
    Checkbox: { defaultProps: { size: 'xs' } },
    Modal: {
      defaultProps: {
        closeButtonProps: { 'aria-label': 'Close the dialog' },
        // The kit's element would be a second banner of the page.
        attributes: { header: { role: 'presentation' } },
      },
    },
    Switch: { defaultProps: { size: 'xs' } },
    SegmentedControl: { defaultProps: { size: 'xs' } },
  },
})

/** Greys that can be read on the page's grounds: a ratio of 4.5 at least. */
export const readable: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-dimmed': '#566072',
    '--mantine-color-placeholder': '#6b7586',
    '--mantine-color-text': '#1b2230',
    '--mantine-color-body': '#ffffff',
    '--mantine-color-error': '#c0242c',
  },
  dark: {
    '--mantine-color-dimmed': '#9aa6b8',
    '--mantine-color-placeholder': '#8d99ab',
    '--mantine-color-text': '#e4e9f1',
    '--mantine-color-body': '#151a22',
    '--mantine-color-error': '#ff8a8a',
    '--mantine-color-default': '#1d242f',
    '--mantine-color-default-hover': '#252d3a',
    '--mantine-color-default-border': '#364152',
  },
})
