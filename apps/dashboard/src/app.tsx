import { MantineProvider } from '@mantine/core'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import type { ReactNode } from 'react'
import { ApiError } from './api/client.ts'
import { firstSpoken, TextsProvider } from './i18n/index.tsx'
import { ToastProvider } from './parts/toasts.tsx'
import { makeRouter } from './router.tsx'
import { Gate } from './shell/gate.tsx'
import { theme } from './theme.ts'

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2000,
      // bounded by: what was looked at in the last two minutes
      gcTime: 120_000,
      retry: (count, error) =>
        count < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
    },
  },
})
const router = makeRouter()
const first = await firstSpoken()

export function App(): ReactNode {
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto">
      <TextsProvider first={first}>
        <QueryClientProvider client={client}>
          <ToastProvider>
            <Gate>
              <RouterProvider router={router} />
            </Gate>
          </ToastProvider>
        </QueryClientProvider>
      </TextsProvider>
    </MantineProvider>
  )
}
