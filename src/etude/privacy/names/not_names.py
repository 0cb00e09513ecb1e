"""Words that are capitalised without being names: chosen by hand, and by what was false on data to choose on."""

from __future__ import annotations

_PARTICLES = """
de da do dos del della di du la le van von der den ter ten bin ibn al el y zu af
"""

_FIELDS = """
Date Name Phone Address Email Mail Where When Subject Bot User Agent Website Web Title Note Tel Fax Mobile
From To Cc Re Fwd Question Answer Q A Doctor Patient Guest Speaker Summary Total Order Invoice Customer
Support Input Output Assistant System Human Update Edit Warning Error Info Personal Contact Company Source
Type Status Time Place Location City Country State Street Zip Reason Description Comment Message Text Reply
Reference Ref ID Account Card Number Amount Price Currency Language Birthday Born Age Gender Occupation
Employer Job Position
"""

_COMMON = """
I A An The This That These Those My Your His Her Its Our Their Me You He She It We They Him Us Them Who Whom
Whose What Which When Where Why How Is Are Was Were Be Been Am Do Does Did Has Have Had Can Could Will Would
Shall Should May Might Must And Or But Nor So Yet For If Then Else Because Since While As At By In Of On To
From With Without Within About After Before Above Below Over Under Between Through During Against Into Onto
Upon Out Off Up Down Near Not No Yes Ok Okay Yeah Nope Never Always Often Sometimes Maybe Perhaps Also Just
Only Even Still Again Once Here There Now Today Tomorrow Yesterday Please Thanks Thank Hi Hello Hey Dear Good
Morning Evening Afternoon Night Bye Welcome Sorry Sure Well Oh Ah Wow Let Lets Let's Don't Doesn't Didn't
Can't Won't I'm I've I'd I'll It's That's What's Where's Who's There's Here's He's She's We're They're You're
Isn't Aren't Wasn't All Any Some Each Every Both Either Neither None Many Much More Most Few Less Several
Other Another Such Same Own Too Very Really Quite Rather Almost One Two Three Four Five Six Seven Eight Nine
Ten First Second Third Last Next Previous New Old Great Big Small Long Short High Low Best Better Worst Bad
Nice Cool Like Love Need Want Get Got Give Given Go Going Come Coming Make Made Take Took Taken See Seen Look
Looking Help Tell Told Say Said Ask Asked Know Think Thought Feel Find Found Try Trying Call Called Use Used
Using Work Working Send Sent Receive Received Pay Paid Buy Bought Sell Sold Open Close Closed Start Started
Stop Stopped Keep Kept Put Set Show Showed Turn Change Changed Check Wait Waiting Add Added Remove Delete
Cancel Block Update Upload Download Save Read Write Listen Watch Play Stay Meet Join Having Being Doing
Getting Making According Despite Although Though However Therefore Thus Hence Meanwhile Instead Moreover
Furthermore Besides Otherwise Unless Until Whether Whatever Whenever Wherever Anyone Someone Everyone Nobody
Somebody Everybody Nothing Something Everything Anything Everywhere Nowhere People Man Woman Men Women Boy
Girl Child Children Kid Kids Baby Guy Guys Lady Gentleman Sir Madam Mr Mrs Ms Miss Dr Prof Mother Father Mom
Mum Dad Brother Sister Son Daughter Wife Husband Friend Uncle Aunt Title Page Chapter Part Section Figure
Table Volume Number Note Name Date Time Year Month Week Day Hour Minute Red Blue Green Black White Orange
Yellow Brown Pink Gray Grey Gold Silver Real True False Free Full Empty Easy Hard Hot Cold Warm Fast Slow
Early Late Right Wrong Left Top Bottom Side End Middle Front Back Inside Outside Behind Beyond Across Along
Around Past Per Plus Minus Than Till Via Ago Away Together Apart Alone Ever Far Home House Office Room Car Bus
Train Plane Phone Email Website Internet Online Computer Data File System Server Code Password Login Address
Street City Town State Country World Earth Reach Visit Following Regarding Concerning Including Based Due
Contact Text Message Mail Letter Order Payment Customer Client Employee Employees Patient Doctor Nurse Officer
Agent Manager Director Team Group Member Members User Users Bot Backup Records Record Report Reports
Investigators Hackers Attackers Analyzing Unfortunately Recently Currently Previously Finally Additionally
Attached Access Among Responding Analysts Auditors Celebrating Awarded Energetic Pedestrians Producer Song
Songs Band Album Music Movie Film Book Story
"""

_TITLES = """
Herr Herrn Frau Monsieur Madame Mme Mmes Mlle Señor Senor Señora Senora Señorita Sr Sra Srta Sig Signor Signora Dhr Mevr
Mevrouw Meneer Pan Pani
"""

_OTHER = """
January February March April May June July August September October November December Jan Feb Mar Apr Jun Jul
Aug Sep Sept Oct Nov Dec Monday Tuesday Wednesday Thursday Friday Saturday Sunday Mon Tue Tues Wed Thu Thur
Thurs Fri Sat Sun Christmas Easter Street St Road Rd Avenue Ave Lane Ln Drive Boulevard Blvd Square Terrace
Court Place Apt Suite Unit Flat Box Inc Ltd LLC GmbH Corp Co Company Corporation Group Holdings Partners
Associates Bank Banking Insurance Hospital Clinic University College School Institute Department Ministry
Agency Office Council Committee Union Association Foundation Society Club Orchestra Church Museum Library
Hotel Restaurant Store Shop Center Centre Park Airport Station Airlines Airways Technologies Technology
Systems Solutions Software Services Service Security Industries Enterprises Consulting Capital Financial
Finance Trust Fund Credit Debit Card Cards Visa Mastercard Amex Paypal PayPal Apple Google Microsoft Amazon
Facebook Twitter Instagram WhatsApp Android Iphone iPhone Windows Linux Express Transfer Transfers Account
Accounts Payment Payments Pay Cash Atm Atms Pin Tax Taxes Id Ids Number Numbers America American Americans
Africa African Asia Asian Europe European English British French German Italian Spanish Dutch Chinese Japanese
Russian Indian Canadian Australian Mexican Irish Scottish Swiss Swedish Polish Turkish Arabic Danish Norwegian
Finnish Icelandic Hungarian Greek Austrian Belgian Portuguese Brazilian Korean Thai Vietnamese Israeli
Egyptian Nigerian Kenyan Croatian Slovenian Slovak Estonian Latvian Lithuanian Romanian Bulgarian Ukrainian
Latino Hispanic Buddhist Jewish Christian Christians Muslim Muslims Catholic Hindu England Britain Ireland
Scotland Wales France Germany Italy Spain Portugal Netherlands Holland Belgium Switzerland Austria Sweden
Norway Denmark Finland Iceland Poland Russia Ukraine Greece Turkey China Japan Korea India Pakistan Australia
Zealand Canada Mexico Brazil Argentina Chile Egypt Israel Iran Iraq Tunisia Uruguay Cyprus Hungary Romania
Bulgaria Croatia Serbia Slovenia Slovakia Czech Republic Kingdom United States London Paris Berlin York
Angeles Francisco Chicago Boston Washington Texas California Florida North South East West Northern Southern
Eastern Western New Great Act Acts Civil Rights Law Laws Constitution Congress Senate Parliament Government
Federal National International Global Internal Revenue Passport License Licence Driver Social Policy Form
Version God Jesus Bible Lord Devil Web Internet Wifi Covid Bluetooth Network Information Health Medical Legal
Human Resources Customer Support Sales Marketing Weekly Daily Times Post News Magazine Journal Radio
Television Channel Stripes Rock Roll Jazz Blues Labor Award Awards Prize Championship League Cup Olympics
Games River Lake Mountain Mount Island Islands Sea Ocean Bay Valley Beach Forest County Province District
Region Village Municipality Area Code Zip Serial Model Series Type
"""

PARTICLES = frozenset(_PARTICLES.split())
"""Small words inside a name."""

FIELDS = frozenset(_FIELDS.split())
"""Words that stand before a colon in forms and talk."""

COMMON = frozenset((_COMMON + _TITLES).split())
"""Ordinary words as they stand at the start of a sentence or in a heading."""

OTHER = frozenset(_OTHER.split())
"""Months, days, peoples, countries, companies and institutions: they cut a run of capitalised words."""
