//! Links, addresses, routes and neighbours of one network namespace, spoken to over rtnetlink.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::task::JoinSet;

/// Error numbers as netlink reports them.
const NOT_FOUND: &[i32] = &[-2, -3, -6, -19, -99];
const EXISTS: i32 = -17;

/// A hardware address.
pub type Mac = [u8; 6];

/// Why the kernel did not do something.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// There is no way to speak to it.
    #[error("could not open a netlink socket")]
    Open(#[source] std::io::Error),
    /// A network namespace cannot be entered.
    #[error("could not enter the network namespace {}", path.display())]
    Namespace { path: PathBuf, source: std::io::Error },
    /// It refused.
    #[error("could not {action}")]
    Refused { action: String, source: rtnetlink::Error },
}

/// A connection to the kernel about one network namespace.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    // The task that carries messages; it ends with the value.
    _carrier: JoinSet<()>,
}

/// What is known of a link.
#[derive(Debug, Clone)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub mac: Option<Mac>,
    pub mtu: u32,
    pub up: bool,
    pub master: Option<u32>,
    pub kind: Option<InfoKind>,
    pub data: Option<InfoData>,
}

impl NetlinkError {
    fn code(&self) -> Option<i32> {
        match self {
            Self::Refused { source: rtnetlink::Error::NetlinkError(message), .. } => Some(message.raw_code()),
            _ => None,
        }
    }

    /// Whether the thing exists already.
    pub fn exists(&self) -> bool {
        self.code() == Some(EXISTS)
    }

    /// Whether the thing does not exist.
    pub fn is_missing(&self) -> bool {
        self.code().is_some_and(|code| NOT_FOUND.contains(&code))
    }
}

/// Turns a refusal into an error that says what was attempted.
fn refused(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> NetlinkError {
    let action = action.into();
    move |source| NetlinkError::Refused { action, source }
}

impl Netlink {
    /// Speaks about the namespace of this process.
    ///
    /// # Errors
    /// Where there is no netlink socket to be had.
    pub fn here() -> Result<Self, NetlinkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
        let mut carrier = JoinSet::new();
        carrier.spawn(connection);
        Ok(Self { handle, _carrier: carrier })
    }

    /// Speaks about the namespace that this path names. The calling thread is in it while the socket is opened, which
    /// then belongs to it, and back before this returns.
    ///
    /// # Errors
    /// Where the namespace cannot be entered or left.
    pub fn inside(path: &Path) -> Result<Self, NetlinkError> {
        let failed = |source: std::io::Error| NetlinkError::Namespace { path: path.to_owned(), source };
        let target = File::open(path).map_err(failed)?;
        let home = File::open("/proc/thread-self/ns/net").map_err(failed)?;
        move_into_link_name_space(target.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| failed(errno.into()))?;
        let opened = Self::here();
        move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| failed(errno.into()))?;
        opened
    }

    /// The link of this name, if there is one.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub async fn link(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut found = self.handle.link().get().match_name(name).execute();
        match found.try_next().await.map_err(refused(format!("look at the link {name}"))) {
            Ok(message) => Ok(message.map(|message| Link::of(&message))),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All links.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let all = self.handle.link().get().execute();
        all.map_ok(|message| Link::of(&message)).try_collect().await.map_err(refused("list links"))
    }

    /// Makes a link.
    ///
    /// # Errors
    /// Where the kernel refuses, also where the name is taken.
    pub async fn add_link(&self, name: &str, message: LinkMessage) -> Result<(), NetlinkError> {
        self.handle.link().add(message).execute().await.map_err(refused(format!("create the link {name}")))
    }

    /// Changes a link that is there.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub async fn change_link(&self, name: &str, message: LinkMessage) -> Result<(), NetlinkError> {
        self.handle.link().change(message).execute().await.map_err(refused(format!("change the link {name}")))
    }

    /// Brings a link up.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub async fn up(&self, link: &Link) -> Result<(), NetlinkError> {
        self.change_link(&link.name, LinkUnspec::new_with_index(link.index).up().build()).await
    }

    /// Removes a link; one that is gone already is fine.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub async fn delete_link(&self, link: &Link) -> Result<(), NetlinkError> {
        let deleted = self.handle.link().del(link.index).execute().await;
        tolerate(deleted.map_err(refused(format!("delete the link {}", link.name))), NetlinkError::is_missing)
    }

    /// The addresses of a link, with their prefix lengths.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub async fn addresses(&self, link: &Link) -> Result<Vec<IpNet>, NetlinkError> {
        let messages = self.address_messages(link).await?;
        Ok(messages.iter().filter_map(address_of).collect())
    }

    async fn address_messages(&self, link: &Link) -> Result<Vec<AddressMessage>, NetlinkError> {
        let all = self.handle.address().get().set_link_index_filter(link.index).execute();
        all.try_collect().await.map_err(refused(format!("list the addresses of {}", link.name)))
    }

    /// Gives a link an address; one that it has already is fine.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub async fn add_address(&self, link: &Link, address: IpNet) -> Result<(), NetlinkError> {
        let request = self.handle.address().add(link.index, address.addr(), address.prefix_len());
        let added = request.execute().await.map_err(refused(format!("add {address} to {}", link.name)));
        tolerate(added, NetlinkError::exists)
    }

    /// Takes an address from a link.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub async fn delete_address(&self, link: &Link, address: IpNet) -> Result<(), NetlinkError> {
        for message in self.address_messages(link).await? {
            if address_of(&message) == Some(address) {
                let deleted = self.handle.address().del(message).execute().await;
                deleted.map_err(refused(format!("take {address} from {}", link.name)))?;
            }
        }
        Ok(())
    }

    /// Adds a route, in place of one with the same destination and metric.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub async fn put_route(&self, what: &str, route: RouteMessage) -> Result<(), NetlinkError> {
        let put = self.handle.route().add(route).replace().execute().await;
        put.map_err(refused(format!("route {what}")))
    }

    /// Removes a route; one that is gone already is fine.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub async fn delete_route(&self, what: &str, route: RouteMessage) -> Result<(), NetlinkError> {
        let deleted = self.handle.route().del(route).execute().await;
        tolerate(deleted.map_err(refused(format!("remove the route {what}"))), NetlinkError::is_missing)
    }

    /// All IPv4 routes.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub async fn routes(&self) -> Result<Vec<RouteMessage>, NetlinkError> {
        let all = self.handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        all.try_collect().await.map_err(refused("list routes"))
    }

    /// All neighbours or, for [`AddressFamily::Bridge`], forwarding entries.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub async fn neighbours(&self, family: AddressFamily) -> Result<Vec<NeighbourMessage>, NetlinkError> {
        let all = self.handle.neighbours().get().set_address_family(family).execute();
        all.try_collect().await.map_err(refused("list neighbours"))
    }

    /// Adds a neighbour or forwarding entry, in place of one with the same key.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub async fn put_neighbour(&self, message: NeighbourMessage) -> Result<(), NetlinkError> {
        // The address is a place holder: the message replaces all of the request.
        let mut request = self.handle.neighbours().add(0, IpAddr::V4(Ipv4Addr::UNSPECIFIED)).replace();
        *request.message_mut() = message;
        request.execute().await.map_err(refused("add a neighbour"))
    }

    /// Removes a neighbour or forwarding entry; one that is gone already is fine.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub async fn delete_neighbour(&self, message: NeighbourMessage) -> Result<(), NetlinkError> {
        let deleted = self.handle.neighbours().del(message).execute().await;
        tolerate(deleted.map_err(refused("remove a neighbour")), NetlinkError::is_missing)
    }
}

fn tolerate(
    result: Result<(), NetlinkError>,
    fine: impl Fn(&NetlinkError) -> bool,
) -> Result<(), NetlinkError> {
    match result {
        Err(error) if fine(&error) => Ok(()),
        other => other,
    }
}

impl Link {
    fn of(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            master: None,
            kind: None,
            data: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok(),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => link.master = Some(*index),
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(kind) => link.kind = Some(kind.clone()),
                            LinkInfo::Data(data) => link.data = Some(data.clone()),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        link
    }

    /// The hardware address as people write it; empty where there is none.
    pub fn mac_text(&self) -> String {
        self.mac.map(mac_text).unwrap_or_default()
    }
}

/// A hardware address as people write it.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Reads a hardware address.
pub fn mac_of(text: &str) -> Option<Mac> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes?.try_into().ok()
}

fn address_of(message: &AddressMessage) -> Option<IpNet> {
    // On point-to-point links the peer's is ADDRESS and ours is LOCAL.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let plain = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    IpNet::new(local.or(plain)?, message.header.prefix_len).ok()
}
