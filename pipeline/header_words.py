"""What headers and values are called in Norwegian, Danish, Swedish, Finnish, English and German exports.

Only proposals use these words (`pipeline/propose.py`); loading goes by the profile alone. Words are compared
without regard to case, blanks, dashes, dots and underscores.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final


def folded(text: str) -> str:
    """A header or value as the lists below spell it."""
    return re.sub(r"[\s_.:/()\-]+", "", unicodedata.normalize("NFC", text).casefold())


def _words(*lines: str) -> frozenset[str]:
    return frozenset(folded(word) for line in lines for word in line.split(","))


HEADERS: Final[Mapping[str, frozenset[str]]] = {
    "user": _words(
        "kundenr,kundenummer,kunde,kundeid,kunde id,kundnr,kundnummer,kund,kundid,abonnentnr,abonnent,avtalepart",
        "asiakasnumero,asiakasnro,asiakas,asiakastunnus,asiakas id,customer,customer id,customer number,customer no",
        "account,account number,account id,account no,client id,user,user id,kundennummer,kundennr,kunden id",
        "geschäftspartner,gp nummer,geschäftspartnernummer,vertragspartner,kundereferanse,debitornr,kontonr",
    ),
    "location": _words(
        "anlegg,anleggsnr,anleggsnummer,anleggsid,anlegg id,anlæg,anlægsnummer,anlægsid,installasjon,installasjonsid",
        "anläggning,anläggningsnummer,anläggningsnr,käyttöpaikka,käyttöpaikkanumero,kohde,kohdenumero,premises,premise",
        "premise id,site,site id,location,location id,property,property id,vertragskonto,anlage,anlagennummer",
        "verbrauchsstelle,lieferstelle,leveringssted,leveringsstedid,forbrukssted,forbrugssted,objektnummer,installation",
    ),
    "location_type": _words(
        "kundetype,kundegruppe,kundekategori,kundtyp,kundkategori,kundgrupp,asiakastyyppi,asiakasryhmä,customer type",
        "customer category,customer group,category,segment,location type,kundengruppe,kundentyp,kundenart,aftagertype",
        "verbrauchergruppe,sluttbrukergruppe,forbrukerkategori,anleggstype,anläggningstyp,kundesegment,locationtype",
    ),
    "meter_point": _words(
        "målepunkt,målepunktid,målepunkt id,målepunktsid,målepunktnr,målepunktnummer,mpid,mp id,gsrn,ean,ean18",
        "ean kode",
        "ean nummer,ean code,aftagenummer,anläggnings id,anläggningsid,mätpunkt,mätpunktsid,mätpunkt id,uttagspunkt",
        "käyttöpaikan tunnus,käyttöpaikkatunnus,mittauspisteen tunnus,mittauspiste,mittauspistetunnus,metering point",
        "metering point id,meteringpoint,meter point,meter point id,meterpoint,mpan,mpan core,supply number",
        "supply point",
        "malo,malo id,marktlokation,marktlokations id,marktlokation id,zählpunktbezeichnung,prm,pdl,pod,cups,cpe,rae",
    ),
    "parent_meter_point": _words(
        "målepunktsid hovedmåler,hovedmåler,hovedmålepunkt,overordnet målepunkt,parent metering point",
        "parent meter point",
        "parent mpid,huvudmätpunkt,överordnad mätpunkt,päämittauspiste,ylempi käyttöpaikka,parent",
    ),
    "metering_location": _words(
        "messlokation,messlokations id,melo,melo id,zählpunkt,zählpunktnummer,messstelle"
    ),
    "latitude": _words(
        "breddegrad,bredde,latitude,lat,latitud,leveysaste,breite,breitengrad,geo lat,gps lat,n,nord,north,northing",
        "nordkoordinat,y,y koordinat,ykoord,n koordinat,hochwert,koordinat n,utm n,utm nord,pohjoinen,n koordinaatti",
    ),
    "longitude": _words(
        "lengdegrad,længdegrad,lengde,longitude,lon,lng,long,longitud,pituusaste,länge,längengrad,geo lon,gps lon",
        "geo lng,e,ø,øst,öst,ost,east,easting,østkoordinat,östkoordinat,x,x koordinat,xkoord,e koordinat,rechtswert",
        "koordinat e,utm e,utm øst,itä,e koordinaatti",
    ),
    "resource": _words(
        "enhetid,enhets id,enhet,enhet id,resource,resource id,device,device id,asset,asset id,apparat,apparat id",
        "laite",
        "laitetunnus,laite id,gerät,geräte id,gerätenummer,enhed,enhedsid,enheds id,utrustning,utrustnings id,ressurs",
        "ressursid,ressurs id",
    ),
    "resource_type": _words(
        "enhetstype,enhetstyp,enhedstype,laitetyyppi,device type,resource type,asset type,gerätetyp,geräteart",
        "apparattype,apparattyp,ressurstype,utrustningstyp",
    ),
    "status": _words(
        "status,tilstand,läge,tila,state,zustand,anleggsstatus,kundestatus,avtalestatus,avtalsstatus,abonnementsstatus",
        "kontostatus,sopimuksen tila,account status,vertragsstatus",
    ),
    "protected": _words(
        "adressesperre,sperret adresse,gradert adresse,fortrolig adresse,beskyttet adresse,skjermet,skjermet adresse",
        "skyddad,skyddad identitet,skyddade personuppgifter,sekretess,sekretessmarkering,turvakielto,protected",
        "protected address,confidential,sperrvermerk,auskunftssperre,navne og adressebeskyttelse,hemmelig adresse",
    ),
}
"""Canonical name to the headers known for it."""

ADDRESS: Final = {
    "street": _words(
        "adresse,gateadresse,vejnavn,adress,gatuadress,osoite,katuosoite,address,street,straße,strasse,gate"
    ),
    "number": _words("husnummer,husnr,hausnummer,house number,talonumero"),
    "postcode": _words("postnr,postnummer,postinumero,postcode,zip,postal code,plz,postleitzahl"),
}
"""Headers of an address, which can tell homes apart where no column does."""

SERIALS: Final = _words(
    "målernummer,målernr,måler,mätarnummer,mätarnr,mätare,mittarinumero,mittari,zählernummer,zähler,meter serial",
    "meter serial number,serial,serial number,meter number,meter no,målerid",
)
"""Headers of what is printed on the meter, which is no meter point."""

LOCATION_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "Residential": _words(
        "husholdning,privat,privatkunde,bolig,fritidsbolig,hytte,hushåll,privatkund,fritidshus,villa,husstand,parcelhus",
        "kotitalous,yksityinen,vapaa-ajan asunto,mökki,household,domestic,residential,private,holiday home,home",
        "haushalt,haushaltskunde,privatkunde,ferienhaus",
    ),
    "Commercial": _words(
        "næring,næringskunde,bedrift,firma,erhverv,virksomhed,företag,näring,yritys,elinkeino,business,commercial",
        "industry,industri,company,gewerbe,gewerbekunde,industrie,landbruk,landbrug,jordbruk,landwirtschaft",
    ),
    "Other": _words("annet,andet,övrigt,annat,muu,other,sonstige,sonstiges,offentlig,public,kommune"),
    "Unknown": _words("ukjent,ukendt,okänd,tuntematon,unknown,unbekannt"),
}
RESOURCE_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "Charger": _words(
        "lader,elbillader,hjemmelader,ladeboks,laddbox,laddare,latauslaite,latausasema,charger,wallbox,ladestation",
        "ev charger",
    ),
    "HotWaterTank": _words(
        "varmtvannsbereder,bereder,vvb,varmvattenberedare,vandvarmer,varmtvandsbeholder,lämminvesivaraaja",
        "hot water tank",
        "water heater,boiler,warmwasserspeicher,hotwatertank",
    ),
    "Vehicle": _words(
        "elbil,bil,kjøretøy,køretøj,fordon,ajoneuvo,auto,sähköauto,vehicle,ev,car,fahrzeug,elektroauto"
    ),
    "HVAC": _words(
        "varmepumpe,varmeanlegg,värmepump,lämpöpumppu,heat pump,hvac,wärmepumpe,klimaanlage,aircondition,ventilasjon"
    ),
    "SolarInverter": _words(
        "solceller,solcelleanlegg,solcelleanlæg,vekselretter,växelriktare,invertteri,aurinkopaneelit,solar,pv,inverter",
        "solar inverter,wechselrichter,photovoltaik,solarinverter",
    ),
    "Generic": _words("annet,andet,övrigt,muu,other,sonstige,generic"),
}
ACTIVE: Final = _words(
    "aktiv,aktivt,aktiva,active,live,open,tilsluttet,tilkoblet,i drift,idrift,in use,voimassa,aktiivinen,käytössä",
    "kytketty,in betrieb,inansluten,ansluten,normal,connected,energised,energized,e22",
)
YES: Final = _words("ja,j,yes,y,true,1,k,kyllä,x,beskyttet,sperret,skyddad")
"""Values that mean that a row is protected."""
