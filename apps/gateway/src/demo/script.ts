/** The numbers and people of the first minute. The numbers exist in the simulator only. */
export interface DemoNumber {
  readonly name: string
  /** Digits, country code first. */
  readonly number: string
}

export interface DemoContact extends DemoNumber {
  /** Index of the instance they write to. */
  readonly writesTo: number
  readonly dialogues: readonly Dialogue[]
}

/** Lines in turn: the contact begins, the company answers. */
type Dialogue = readonly (readonly [contact: string, company: string])[]

export const DEMO_TENANT = 'demo'

/** Short names: a line with all its steps fits a terminal of 80 columns. */
export const demoInstances: readonly DemoNumber[] = [
  { name: 'Bakery', number: '5511900000101' },
  { name: 'Bikes', number: '5511900000102' },
]

/** A company with sectors, operators and a flow: a tenant of its own, since a flow serves all numbers of a tenant. */
export const CLINIC_TENANT = 'demo-clinic'
export const clinicNumber: DemoNumber = { name: 'Clinic', number: '5511900000103' }

export const clinicSectors = [
  { id: 'appointments', name: 'Appointments' },
  { id: 'results', name: 'Results' },
] as const

export const clinicOperators = [
  { name: 'Dora', sector: 'appointments' },
  { name: 'Eli', sector: 'results' },
] as const

export const clinicFlow = {
  format: 1,
  starts: 'everybody',
  start: 'menu',
  steps: [
    {
      id: 'menu',
      kind: 'menu',
      text: 'Hello from the clinic! What is it about?',
      options: [
        { label: 'Appointments', words: ['appointment'], next: 'appointments' },
        { label: 'Results', words: ['result', 'exam'], next: 'results' },
      ],
      fallback: 'person',
    },
    { id: 'appointments', kind: 'assign', to: { sector: 'appointments' } },
    { id: 'results', kind: 'assign', to: { sector: 'results' } },
    { id: 'person', kind: 'hand_over' },
  ],
} as const

export interface ClinicVisit extends DemoNumber {
  /** Their first words, what they choose, and their last. */
  readonly says: readonly [string, string, string]
  /** Of the first operator, and of the one they are handed on to. */
  readonly answers: readonly [string, string]
}

export const clinicVisits: readonly ClinicVisit[] = [
  {
    name: 'Davi',
    number: '5511900000204',
    says: ['Good afternoon', '1', 'Perfect, thank you!'],
    answers: ['Thursday at 10 is free. Eli tells you how to prepare.', 'Nothing to eat after 22, please.'],
  },
  {
    name: 'Emma',
    number: '5511900000205',
    says: ['Hello', 'my exam results', 'Great, bye!'],
    answers: ['They are here, and all is well. Dora finds you a date.', 'Monday at 9, see you then!'],
  },
]

export const demoContacts: readonly DemoContact[] = [
  {
    name: 'Ana',
    number: '5511900000201',
    writesTo: 0,
    dialogues: [
      [
        ['Good morning! Are you open on Sunday?', 'Good morning, Ana! Yes, from 7 to 13.'],
        ['Lovely. Could you keep two loaves of rye for me?', 'Two loaves of rye are waiting for you.'],
        ['Thank you!', 'You are welcome. See you on Sunday!'],
      ],
      [
        ['Do you bake birthday cakes?', 'We do. Two days ahead is best.'],
        ['Chocolate for twelve, on Friday?', 'Noted: chocolate, twelve people, Friday at 15.'],
      ],
    ],
  },
  {
    name: 'Bruno',
    number: '5511900000202',
    writesTo: 1,
    dialogues: [
      [
        ['Hi, is my bike ready?', 'Hi Bruno! The brakes are done, the chain comes this afternoon.'],
        ['Great, until when are you there?', 'Until 18:30.'],
      ],
      [
        ['How much is a new tyre for a 28-inch wheel?', 'From 19 to 45, fitted.'],
        ['The good one, please.', 'We have put one aside for you.'],
        ['See you tomorrow.', 'See you tomorrow, Bruno!'],
      ],
    ],
  },
  {
    name: 'Carla',
    number: '5511900000203',
    writesTo: 0,
    dialogues: [
      [
        ['Do you deliver to the old town?', 'Every morning before 8.'],
        ['Ten rolls from Monday on, please.', 'Ten rolls from Monday on. Thank you, Carla!'],
      ],
      [
        ['Is there anything without gluten?', 'Corn bread on Tuesdays, almond cake always.'],
        ['Then an almond cake for tomorrow.', 'It has your name on it.'],
      ],
    ],
  },
]
