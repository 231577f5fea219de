import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from '@tanstack/react-router'
import { NotFound, PageCrashed } from './shell/fallbacks.tsx'
import { Frame } from './shell/frame.tsx'
import { PagePending } from './parts/states.tsx'

const root = createRootRoute({ component: Frame, notFoundComponent: NotFound })

/** A page that is loaded when somebody goes there. */
const overview = createRoute({
  getParentRoute: () => root,
  path: '/',
  component: lazyRouteComponent(() => import('./screens/overview.tsx'), 'OverviewScreen'),
})
const instances = createRoute({
  getParentRoute: () => root,
  path: '/numbers',
  component: lazyRouteComponent(() => import('./screens/instances.tsx'), 'InstancesScreen'),
})
const instance = createRoute({
  getParentRoute: () => root,
  path: '/numbers/$id',
  component: lazyRouteComponent(() => import('./screens/instance.tsx'), 'InstanceScreen'),
})

const inbox = createRoute({
  getParentRoute: () => root,
  path: '/inbox',
  validateSearch: (
    search: Record<string, unknown>,
  ): { tenant?: string | undefined; conversation?: string | undefined } => ({
    ...(typeof search['tenant'] === 'string' ? { tenant: search['tenant'] } : {}),
    ...(typeof search['conversation'] === 'string' ? { conversation: search['conversation'] } : {}),
  }),
  component: lazyRouteComponent(() => import('./screens/inbox.tsx'), 'InboxScreen'),
})
const queue = createRoute({
  getParentRoute: () => root,
  path: '/queue',
  component: lazyRouteComponent(() => import('./screens/queue.tsx'), 'QueueScreen'),
})

const memory = createRoute({
  getParentRoute: () => root,
  path: '/memory',
  component: lazyRouteComponent(() => import('./screens/memory.tsx'), 'MemoryScreen'),
})

const events = createRoute({
  getParentRoute: () => root,
  path: '/events',
  component: lazyRouteComponent(() => import('./screens/events.tsx'), 'EventsScreen'),
})

const flows = createRoute({
  getParentRoute: () => root,
  path: '/flows',
  component: lazyRouteComponent(() => import('./screens/flows.tsx'), 'FlowsScreen'),
})

const webhooks = createRoute({
  getParentRoute: () => root,
  path: '/webhooks',
  component: lazyRouteComponent(() => import('./screens/webhooks.tsx'), 'WebhooksScreen'),
})

const access = createRoute({
  getParentRoute: () => root,
  path: '/access',
  component: lazyRouteComponent(() => import('./screens/access.tsx'), 'AccessScreen'),
})

const audit = createRoute({
  getParentRoute: () => root,
  path: '/audit',
  component: lazyRouteComponent(() => import('./screens/audit.tsx'), 'AuditScreen'),
})

const settings = createRoute({
  getParentRoute: () => root,
  path: '/settings',
  component: lazyRouteComponent(() => import('./screens/settings.tsx'), 'SettingsScreen'),
})

const routeTree = root.addChildren([
  overview,
  instances,
  instance,
  inbox,
  queue,
  memory,
  events,
  flows,
  webhooks,
  access,
  audit,
  settings,
])

export function makeRouter() {
  return createRouter({
    routeTree,
    defaultPreload: 'intent',
    defaultPendingComponent: PagePending,
    defaultErrorComponent: PageCrashed,
    scrollRestoration: false,
  })
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof makeRouter>
  }
}
